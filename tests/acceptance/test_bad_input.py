"""What cannot be used has a defined outcome that a person can read, is kept, and takes nothing else with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicomio.network.scu.sender import send
from dicomio.results.uids import derived_uid
from pipelines.phantoms.dicom import PhantomTruth, write_phantom

Phantom = tuple[Path, PhantomTruth]


def flair_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*.dcm") if "flair" in str(p.relative_to(folder)).lower())


def small_capture(number: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = derived_uid("unrelated", str(number))
    dataset.StudyInstanceUID = derived_uid("unrelated study")
    dataset.SeriesInstanceUID = derived_uid("unrelated series", str(number))
    dataset.Modality, dataset.PatientID, dataset.PatientName = "OT", "U1", "SECRET^NAME"
    dataset.Rows = dataset.Columns = 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.PixelData = 7, 0, bytes(4)
    return dataset


def test_bad_files_bad_series_and_bad_rules_each_have_their_outcome(
    make_daemon: Callable[..., Any], brain_phantom: Phantom, tmp_path: Path, until: Callable[..., None]
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    daemon = make_daemon(watch=[{"path": str(inbox), "settle": "0.5s"}])
    daemon.start()
    quarantine = daemon.folder / "data" / "spool" / "quarantine"
    flair = flair_files(brain_phantom[0])

    # a truncated file and one that is no DICOM: kept, with the reason beside
    (inbox / "cut.dcm").write_bytes(flair[0].read_bytes()[:-1000])
    (inbox / "letter.doc").write_bytes(b"Dear Sir or Madam")
    until(lambda: len(list(quarantine.glob("*.reason.json"))) == 2, 30, daemon.log.read_text)
    reasons = " ".join(json.loads(p.read_text())["reason"] for p in quarantine.glob("*.reason.json"))
    assert "cut off" in reasons
    until(lambda: not list(inbox.iterdir()), 30)  # the reason is on disk before the file leaves the inbox

    # a rule file with an error changes nothing, and says where; receiving has started before the rules were read
    until(lambda: "] ready" in daemon.log.read_text(), 240)
    good = daemon.rules.read_text()
    daemon.rules.write_text(good.replace("sequence: flair", "sequense: flair"))

    # a study of thousands of unrelated files
    unrelated = tmp_path / "unrelated"
    unrelated.mkdir()
    for number in range(2000):
        small_capture(number).save_as(unrelated / f"{number}.dcm", enforce_file_format=True)
    send(daemon.peer, sorted(unrelated.iterdir()), on_result=lambda result: None)

    # a series of one slice, a series with a gap
    one = tmp_path / "one"
    write_phantom("brain-mr", one, slices=8, matrix=64, seed=11)
    send(daemon.peer, flair_files(one)[:1], on_result=lambda result: None)
    gap = tmp_path / "gap"
    write_phantom("brain-mr", gap, slices=14, matrix=64, seed=12)
    files = flair_files(gap)
    send(daemon.peer, files[:6] + files[8:], on_result=lambda result: None)

    # and a good study in between is not disturbed
    send(daemon.peer, flair, on_result=lambda result: None)
    rows = daemon.settle(4, timeout=240)
    by_images = {row.study.images: row for row in rows}
    assert {str(by_images[2000].state), str(by_images[1].state)} == {"unmatched"}
    assert "Modality" in by_images[2000].why
    assert "images at least" in by_images[1].why
    assert str(by_images[12].state) == "refused"
    assert "missing" in by_images[12].why.lower()
    assert by_images[12].reason_code == "missing-slices"
    assert {by_images[2000].reason_code, by_images[1].reason_code} == {"no-rule"}
    assert str(by_images[len(flair)].state) == "done"

    log = daemon.log.read_text()
    assert f"{daemon.rules}:" in log
    assert "sequense" in log
    assert "SECRET" not in log
    assert "PHANTOM" not in log


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small-disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=330m,mode=0700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk of its own cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room(
    small_disk: Path, make_daemon: Callable[..., Any], tmp_path: Path, until: Callable[..., None]
) -> None:
    write_phantom("abdomen-ct", tmp_path / "ct", slices=160, matrix=512)
    paths = sorted((tmp_path / "ct").rglob("*.dcm"))
    daemon = make_daemon(data_dir=str(small_disk / "data"))
    daemon.start()
    results: list[Any] = []
    send(daemon.peer, paths, on_result=results.append)
    accepted = {result.sop_instance_uid for result in results if result.accepted}
    refused = [result for result in results if not result.accepted]
    assert accepted
    assert refused
    assert {result.status for result in refused} == {0xA700}
    assert {part.stat().st_size for part in (small_disk / "data" / "spool" / "tmp").iterdir()} <= {
        0
    }  # nothing half written

    subprocess.run(["mount", "-o", "remount,size=900m", str(small_disk)], check=True)
    results.clear()
    send(daemon.peer, paths, on_result=results.append)
    assert all(result.accepted for result in results)

    def all_are_read() -> bool:
        last = daemon.jobs()[-1:]  # no job yet, where the second sending was quicker than the quiet period
        return [(str(job.state) in {"done", "superseded"}, job.study.images) for job in last] == [(True, 160)]

    until(all_are_read, 240)
    studies = small_disk / "data" / "spool" / "studies"
    stored = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in studies.rglob("*.dcm")}
    assert accepted <= stored
    shutil.rmtree(tmp_path / "ct")
