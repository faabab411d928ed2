from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pydicom

from pipelines.phantom_dicom import write_phantom


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
