"""Files in the watched folder that are no DICOM, or not quite: quarantine with the reason, and what can be mended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from structlog.testing import capture_logs

import daemon.intake.folder
from daemon.intake.folder import FolderImporter
from dicomio.files.file_meta import read_file_meta
from dicomio.files.spool.spool import Spool
from tests.daemon.support.waiting import until
from tests.daemon.support.watched_folder import SETTLE, contents, kept_in_quarantine, quarantined

pytestmark = pytest.mark.usefixtures("as_many_scans_as_asked_for")


def test_what_is_no_dicom_goes_to_quarantine_with_the_reason(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool
) -> None:
    (folder / "autorun.inf").write_bytes(b"[autorun]\r\nopen=viewer.exe\r\n")
    (folder / "report.PDF").write_bytes(b"%PDF-1.7" + bytes(5000))
    (folder / "noise").write_bytes(os.urandom(100_000))
    (folder / "empty.dcm").touch()
    with capture_logs() as logs:
        inbox().step()
    reasons = quarantined(spool)
    assert set(reasons) == {"autorun.inf", "report.PDF", "noise", "empty.dcm"}
    assert "not a DICOM file" in reasons["report.PDF"]
    assert "it is empty" in reasons["empty.dcm"]
    kept = [path.name.split(".") for path in kept_in_quarantine(spool)]
    assert sorted([start, *suffix] for start, _, *suffix in kept) == [["taken"]] * 3 + [["taken", "dcm"]]
    assert list(folder.iterdir()) == []
    assert str(folder) not in json.dumps([line for line in logs if line["event"] == "quarantined"])


def test_a_file_that_lacks_a_uid_says_so(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool, images: list[Path]
) -> None:
    dataset = pydicom.dcmread(images[0])
    del dataset.StudyInstanceUID
    dataset.save_as(folder / "orphan.dcm")
    inbox().step()
    assert quarantined(spool) == {"orphan.dcm": "orphan.dcm has no StudyInstanceUID, which is required."}


def test_a_file_that_is_cut_off_is_waited_for_and_then_quarantined(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool, images: list[Path]
) -> None:
    data = images[0].read_bytes()
    (folder / "cut.dcm").write_bytes(data[:-100])
    (folder / "slow.dcm").write_bytes(data[:-100])
    one = inbox(settle=SETTLE)
    began = time.monotonic()
    until(lambda: one.step() or time.monotonic() > began + 3 * SETTLE)
    assert quarantined(spool) == {}
    with (folder / "slow.dcm").open("ab") as stream:
        stream.write(data[-100:])
    until(lambda: one.step() or quarantined(spool))
    assert time.monotonic() - began >= daemon.intake.folder.PATIENCE * SETTLE
    until(lambda: one.step() or spool.incoming())
    assert set(quarantined(spool)) == {"cut.dcm"}
    assert "cut.dcm is cut off: the pixel data should end at byte" in quarantined(spool)["cut.dcm"]
    assert [path.read_bytes() for path in kept_in_quarantine(spool)] == [data[:-100]]
    assert contents(spool.incoming()) == [data]


def test_a_file_without_head_gets_one(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool, images: list[Path]
) -> None:
    data = images[0].read_bytes()
    (folder / "no preamble").write_bytes(data[132:])
    dataset = pydicom.dcmread(images[0])
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.save_as(folder / "bare", implicit_vr=True, little_endian=True)
    whole = (folder / "bare").read_bytes()
    (folder / "bare").write_bytes(whole[read_file_meta(folder / "bare").offset :])
    inbox().step()
    assert quarantined(spool) == {}
    for path in spool.incoming():
        found = pydicom.dcmread(path)
        assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID == dataset.SOPInstanceUID
        assert found.PixelData == dataset.PixelData
    assert sorted(pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in spool.incoming()) == [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
    ]


def test_a_bare_file_with_compressed_pixels_does_not_say_how(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool
) -> None:
    source = Path(str(get_testdata_file("JPEG2000.dcm", download=False)))
    bare = source.read_bytes()[read_file_meta(source).offset :]
    (folder / "bare.dcm").write_bytes(bare)
    inbox().step()
    assert spool.incoming() == []
    assert "compressed" in quarantined(spool)["bare.dcm"]
    assert [path.read_bytes() for path in kept_in_quarantine(spool)] == [bare]
