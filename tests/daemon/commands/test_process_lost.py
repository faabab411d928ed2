"""`process` on a study of which images are damaged: refused and told why, or run and said first of all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from pipelines.phantoms.dicom import write_phantom


def scanward(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon.cli", *map(str, arguments), "--backend", "onnxruntime"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def told(run: subprocess.CompletedProcess[str]) -> str:
    return " ".join(run.stdout.replace("│", " ").split())


@pytest.fixture
def ct(tmp_path: Path) -> list[Path]:
    """The files of a CT, from the lowest slice to the highest."""
    write_phantom("abdomen-ct", tmp_path / "ct", slices=24, matrix=128, slice_mm=5.0)
    return sorted((tmp_path / "ct").rglob("*.dcm"), key=lambda path: float(pydicom.dcmread(path).SliceLocation))


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_two_top_slices_that_are_cut_in_half_are_not_passed_over(tmp_path: Path, ct: list[Path]) -> None:
    for path in ct[-2:]:
        halve(path)
    run = scanward("process", tmp_path / "ct", "-o", tmp_path / "out")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "Refused: 2 images came and could not be used" in told(run)
    assert ct[-1].name in told(run)
    assert "10 mm beyond the edge of what was read, is cut off" in told(run)
    assert "Files that could not be used: 2 TruncatedFile" in told(run)
    assert not (tmp_path / "out" / "sr.dcm").exists()


def test_lenient_runs_and_says_it_first(tmp_path: Path, ct: list[Path]) -> None:
    for path in ct[-2:]:
        halve(path)
    run = scanward("process", tmp_path / "ct", "-o", tmp_path / "out", "--lenient", "--json")
    assert run.returncode == 0, run.stdout + run.stderr
    (job,) = json.loads(run.stdout)["jobs"]
    assert job["notes"][0].startswith("2 images came and could not be used, and the measurements lack them: image ")
    (read,) = job["read"].values()
    assert (read["images"], read["came"]) == (22, 24)
    report = pydicom.dcmread(tmp_path / "out" / "sr.dcm")
    comments = [
        item.TextValue
        for container in report.ContentSequence
        for item in container.get("ContentSequence", ())
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeMeaning == "Comment"
    ]
    assert comments[0] == job["notes"][0]
    assert any(comment.startswith("Read 22 of 24 images of CT (") for comment in comments)
    assert job["told_read"] in comments


def test_a_gap_names_the_file_that_leaves_it(tmp_path: Path, ct: list[Path]) -> None:
    halve(ct[10])
    run = scanward("process", tmp_path / "ct", "-o", tmp_path / "out", "--lenient")
    assert run.returncode == 1
    assert "1 slice(s) are missing" in told(run)
    assert f"Besides: 1 image of it came and could not be used: image {number(ct[9], ct[11])} of series" in told(run)
    assert ct[10].name in told(run)


def number(before: Path, after: Path) -> int:
    return (int(pydicom.dcmread(before).InstanceNumber) + int(pydicom.dcmread(after).InstanceNumber)) // 2


def test_a_damaged_image_that_is_there_whole_as_well_is_not_lost(tmp_path: Path, ct: list[Path]) -> None:
    copy = tmp_path / "ct" / "copy.dcm"
    copy.write_bytes(ct[3].read_bytes())
    halve(copy)
    (tmp_path / "ct" / "README.txt").write_text("no image")
    run = scanward("process", tmp_path / "ct", "-o", tmp_path / "out")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Read 24 of 24 images of CT (" in told(run)
    assert "Files that could not be used: 1 NotDicom, 1 TruncatedFile" in told(run)
