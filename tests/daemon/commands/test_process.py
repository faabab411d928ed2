from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pydicom
import pytest

from daemon.intake.study_folder import read_folder
from dicomio.files.digest import data_set_offset
from pipelines.phantoms.dicom import write_phantom


def scanward(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_results_do_not_go_into_the_studys_own_folder(tmp_path: Path) -> None:
    (tmp_path / "image.dcm").write_bytes(b"an image")
    run = scanward("process", tmp_path, "-o", tmp_path)
    assert run.returncode == 2
    assert "choose another" in run.stderr
    assert (tmp_path / "image.dcm").exists()


def test_an_unknown_backend_is_wrong_usage(tmp_path: Path) -> None:
    run = scanward("process", tmp_path, "--backend", "abacus")
    assert run.returncode == 2
    assert "abacus" in run.stderr
    assert "Traceback" not in run.stderr


def test_what_lies_in_the_output_folder_stays(tmp_path: Path) -> None:
    write_phantom("abdomen-ct", tmp_path / "ct", slices=20, matrix=128, slice_mm=5.0)
    mine = [tmp_path / "out" / "mine.dcm", tmp_path / "out" / "pictures" / "mine.png"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "out" / "key-99.dcm").touch()  # of an earlier run, with more key images
    run = scanward("process", tmp_path / "ct", "-o", tmp_path / "out", "--backend", "onnxruntime")
    assert run.returncode == 0, run.stdout + run.stderr
    assert all(path.exists() for path in mine)
    assert not (tmp_path / "out" / "key-99.dcm").exists()


def test_a_phase_that_the_network_does_not_know_is_refused_by_the_rules_and_else_named_in_the_report(
    tmp_path: Path,
) -> None:
    write_phantom("abdomen-ct", tmp_path / "ct", slices=20, matrix=128, slice_mm=5.0)
    for path in (tmp_path / "ct").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.SeriesDescription, dataset.StudyDescription = "Abdomen arteriell", "CT Abdomen"
        dataset.save_as(path)

    by_rule = scanward("process", tmp_path / "ct", "-o", tmp_path / "out", "--backend", "onnxruntime")
    asked = ("--pipeline", "abdomen-ct", "--backend", "onnxruntime")
    by_name = scanward("process", tmp_path / "ct", "-o", tmp_path / "out", *asked)

    assert by_rule.returncode == 1
    assert "saw arterial" in " ".join(by_rule.stdout.split())
    assert by_name.returncode == 0, by_name.stdout + by_name.stderr
    assert "is of the arterial phase" in " ".join(by_name.stdout.split())
    (report,) = [one for one in map(pydicom.dcmread, (tmp_path / "out").glob("*.dcm")) if one.Modality == "SR"]
    assert "is of the arterial phase" in report.to_json()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "ct"
    write_phantom("abdomen-ct", folder, slices=20, matrix=128, slice_mm=5.0)
    return folder


def images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_an_output_that_cannot_be_written_is_said_before_the_work(study: Path, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("mine")
    for out in (tmp_path / "report.txt", tmp_path / "report.txt" / "below"):
        run = scanward("process", study, "-o", out)
        assert run.returncode == 2
        assert "is not a folder; choose another with --out" in " ".join(run.stderr.split())
        assert "Reading headers" not in run.stderr
    assert (tmp_path / "report.txt").read_text() == "mine"
    run = scanward("process", study, "-o", "/proc/results")  # nobody can write there, root neither
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr


def test_json_says_what_the_table_says(study: Path, tmp_path: Path) -> None:
    run = scanward("process", study, "-o", tmp_path / "out", "--json")
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    (job,) = answer["jobs"]
    assert (job["pipeline"], job["out"], job["refused"]) == ("abdomen-ct", str(tmp_path / "out"), None)
    assert {"Volume"} <= {figure["name"] for figure in job["measurements"]}
    assert all(Path(written["path"]).is_file() for written in job["results"])
    assert all(Path(picture).is_file() for picture in job["pictures"])
    assert job["headline"]
    assert (answer["unmatched"], answer["unusable"], answer["copies"]) == ([], {}, 0)


def test_json_says_why_nothing_was_done(study: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        "rules:\n  - name: none\n    pipeline: abdomen-ct\n    series: {ct: {Modality: MR}}\n    send_to: []\n"
    )
    run = scanward("process", study, "-o", tmp_path / "out", "--json", "--rules", tmp_path / "rules.yaml")
    assert run.returncode == 1, run.stderr
    answer = json.loads(run.stdout)
    assert answer["jobs"] == []
    assert answer["unmatched"][0]["reasons"]
    assert not (tmp_path / "out").exists()


def test_a_folder_is_read_as_a_watched_one_is_taken(study: Path, tmp_path: Path) -> None:
    """Files without their head, copies, zip files, DICOMDIRs and the droppings of file managers."""
    files, folder, scratch = images(study), tmp_path / "mixed", tmp_path / "scratch"
    (folder / "deep").mkdir(parents=True)
    scratch.mkdir()
    for number, path in enumerate(files):
        data = path.read_bytes()
        if number % 4 == 0:
            (folder / f"{number}").write_bytes(data[data_set_offset(data[:144]) :])  # no file meta
        elif number % 4 == 1:
            (folder / f"{number}.dcm").write_bytes(data[132:])  # no preamble
        elif number % 4 == 2:
            (folder / f"{number}.dcm").write_bytes(data)
            (folder / "deep" / f"copy of {number}.dcm").write_bytes(data[:132].replace(b"\0", b"x", 1) + data[132:])
    with zipfile.ZipFile(folder / "rest.zip", "w") as archive:
        for path in files[3::4]:
            archive.write(path, path.name)
    (folder / "._0").write_bytes(b"mac")
    (folder / "5.dcm.part").write_bytes(files[5].read_bytes())
    (folder / "notes.txt").write_text("no image")
    plain, mixed = read_folder(study, scratch=scratch), read_folder(folder, scratch=scratch)
    assert mixed.studies[0].facts == plain.studies[0].facts
    assert sum(map(len, mixed.studies[0].files.values())) == len(files) == 20
    assert all(path.is_file() for paths in mixed.studies[0].files.values() for path in paths)
    assert (mixed.copies, mixed.unusable) == (5, {"NotDicom": 1})


def test_it_is_processed_to_the_same_figures(study: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for number, path in enumerate(images(study)):
        data = path.read_bytes()
        (bare / f"{number}").write_bytes(data[data_set_offset(data[:144]) :])
        (bare / f"{number} copy").write_bytes(data)
    runs = [scanward("process", folder, "-o", tmp_path / f"out of {folder.name}", "--json") for folder in (study, bare)]
    first, second = (json.loads(run.stdout)["jobs"][0] for run in runs)
    assert second["measurements"] == first["measurements"]
    assert [one["sop_instance_uid"] for one in second["results"]] == [
        one["sop_instance_uid"] for one in first["results"]
    ]
