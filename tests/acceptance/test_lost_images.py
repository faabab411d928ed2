"""A study of which images are lost on the way: refused and named, whole again once they come, or run where allowed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE

from pipelines.phantoms.dicom import write_phantom

PLAIN = {"backend": "onnxruntime"}  # opens at once
PATIENT = {"quiet_period": "30s", "after_release": "1s"}  # with a sender that a busy machine holds up


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of a CT, from the lowest slice to the highest."""
    out = tmp_path_factory.mktemp("ct")
    write_phantom("abdomen-ct", out, slices=40, matrix=256, slice_mm=5.0)
    return sorted(out.rglob("*.dcm"), key=lambda path: float(pydicom.dcmread(path).SliceLocation))


@pytest.fixture(autouse=True)
def as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are sent byte by byte: a data set that is cut off stays so."""
    monkeypatch.setattr("pynetdicom._config.STORE_SEND_CHUNKED_DATASET", True)


def damaged(path: Path, half: Path) -> Path:
    """The file of `path` up to the middle of its pixels."""
    half.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return half


def send(daemon: Any, files: list[Path]) -> None:
    """Sends the bytes of the data sets as they are, whatever they hold."""
    entity = AE("CT1")
    first = pydicom.dcmread(files[0], stop_before_pixels=True)
    entity.add_requested_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", daemon.port, ae_title="SCANWARD")
    assert association.is_established
    assert {association.send_c_store(path).Status for path in files} == {0x0000}
    association.release()


def scanward(daemon: Any, *arguments: str) -> str:
    command = [sys.executable, "-m", "daemon.cli", *arguments, "-c", str(daemon.config)]
    wide = os.environ | {"COLUMNS": "500"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=wide).stdout


def test_two_top_slices_that_came_cut_in_half(
    make_daemon: Callable[..., Any], slices: list[Path], tmp_path: Path
) -> None:
    daemon = make_daemon(assembly=PATIENT, engine=PLAIN)
    daemon.start()
    halves = [damaged(path, tmp_path / path.name) for path in slices[-2:]]
    send(daemon, [*slices[:-2], *halves])

    (row,) = daemon.settle(1, 240)
    assert (str(row.state), row.lost, row.reason_code) == ("refused", 2, "lost-images")
    assert "2 images came and could not be used" in row.why
    assert "beyond the edge of what was read, is cut off" in row.why
    uids = {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in slices[-2:]}
    assert all(uid in row.why for uid in uids)
    shown = json.loads(scanward(daemon, "jobs", "show", str(row.job_id), "--json"))
    assert {one["sop_instance_uid"] for one in shown["lost"]} == uids
    assert "2 received images cannot be used" in " ".join(scanward(daemon, "jobs", "list").split())
    assert json.loads(scanward(daemon, "status", "--json"))["lost"] == {"of_studies": 2, "of_none": 0}

    send(daemon, slices[-2:])  # whole this time
    rows = daemon.settle(2, 240)
    assert {str(one.state): one.lost for one in rows} == {"done": 0, "superseded": 0}
    done = daemon.job(next(one.job_id for one in rows if str(one.state) == "done"))
    (read,) = done.job.read.values()
    assert (read["images"], read["came"]) == (40, 40)
    assert not any("could not be used" in note for note in done.job.notes)


def test_lenient_runs_with_the_note_first(make_daemon: Callable[..., Any], slices: list[Path], tmp_path: Path) -> None:
    daemon = make_daemon(assembly=PATIENT | {"lost_images": "lenient"}, engine=PLAIN)
    daemon.start()
    send(daemon, [*slices[:-1], damaged(slices[-1], tmp_path / "half.dcm")])
    (row,) = daemon.settle(1, 240)
    detail = daemon.job(row.job_id)
    assert str(row.state) == "done"
    assert detail.job.notes[0].startswith("1 image came and could not be used, and the measurements lack it: image ")
    (report,) = (result.path for result in detail.results if result.name == "sr.dcm")
    told = (daemon.folder / "data" / report).read_bytes()
    places = [told.index(note.encode()) for note in detail.job.notes]
    assert places == sorted(places)
    assert "Read: 39 of 40 images of CT (" in " ".join(scanward(daemon, "jobs", "show", str(row.job_id)).split())
