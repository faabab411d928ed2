"""What comes and cannot be used is tied to its study, from every input to the database."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE

from daemon.intake.folder import FolderImporter, WatchedFolder
from daemon.intake.reader import SpoolReader
from db.database import Database
from db.records import LossRow
from db.states import LossKind
from dicomio.files.file_meta import read_file_meta
from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import Listener, ListenerSettings
from tests.daemon.support.waiting import until
from tests.dicomio.support.images import SERIES, stack
from tests.dicomio.support.requestor import encode_request


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", reserve=0)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(f"sqlite:///{tmp_path / 'db.sqlite'}")) as store:
        store.upgrade()
        yield store


@pytest.fixture
def slices(tmp_path: Path) -> list[Path]:
    (tmp_path / "ct").mkdir()
    return sorted(stack(tmp_path / "ct"), key=lambda path: -int(pydicom.dcmread(path).InstanceNumber))


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-40])
    return path


def losses(spool: Spool, database: Database) -> tuple[LossRow, ...]:
    intake = SpoolReader(spool, database)
    while intake.step():
        pass
    assert spool.lost() == []
    (row,) = database.jobs.find()
    return database.studies.lost_images(row.study.study_instance_uid)


def test_a_cut_off_image_in_the_spool(spool: Spool, database: Database, slices: list[Path]) -> None:
    uid = str(pydicom.dcmread(slices[-1]).SOPInstanceUID)
    cut(slices[-1])
    for path in slices:
        spool.store(path)
    (found,) = losses(spool, database)
    assert (found.kind, found.sop_instance_uid, found.series_instance_uid) == (LossKind.CUT_OFF, uid, SERIES)
    assert (found.number, found.position) == ("996", (-10.0, -20.0, 40.0))
    assert found.reason.startswith("is cut off: the pixel data should end at byte")
    assert (spool.quarantine_folder / found.file).exists()
    assert str(spool.root) not in found.reason


def test_a_damaged_header_in_a_watched_folder(spool: Spool, database: Database, slices: list[Path]) -> None:
    data = slices[2].read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00OW")
    slices[2].write_bytes(data[:at] + b"\x00\x52\x29\x92LO\x04\x00TEXT" + data[at:])
    watched = WatchedFolder(slices[2].parent, 0.0)
    FolderImporter(watched, spool, lambda event: None, rescan=0.0, stopping=threading.Event()).step()
    (found,) = losses(spool, database)
    assert (found.kind, found.number) == (LossKind.QUARANTINED, "998")
    assert found.reason == "has a header that cannot be read at (5200,9229): it is no sequence."


def test_an_image_that_is_still_written_to_a_watched_folder(
    spool: Spool, database: Database, slices: list[Path]
) -> None:
    whole = slices[-1].read_bytes()
    cut(slices[-1])
    inbox = FolderImporter(
        WatchedFolder(slices[0].parent, 1.0), spool, lambda event: None, rescan=0.0, stopping=threading.Event()
    )
    until(lambda: inbox.step() or len(list(slices[0].parent.iterdir())) == 1)
    until(lambda: inbox.step() or spool.lost())
    (found,) = losses(spool, database)
    assert (found.kind, found.number) == (LossKind.NOT_FINISHED, "996")
    slices[-1].write_bytes(whole)
    until(lambda: inbox.step() or not slices[-1].exists())
    assert losses(spool, database) == ()


def data_primitive(context_id: int, control: int, value: bytes) -> bytes:
    """A P-DATA-TF PDU with one fragment (PS3.8, 9.3.5)."""
    return struct.pack(">BxLLBB", 4, len(value) + 6, len(value) + 2, context_id, control) + value


def test_an_association_that_ends_within_an_image(spool: Spool, database: Database, slices: list[Path]) -> None:
    with Listener(ListenerSettings(spool=spool.root, port=0, processes=1, reserve_bytes=0)) as listener:
        datasets = [pydicom.dcmread(path) for path in slices]
        last = datasets.pop()
        entity = AE("CT1")
        entity.add_requested_context(last.SOPClassUID, last.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", listener.port, ae_title="SCANWARD")
        assert [association.send_c_store(dataset).Status for dataset in datasets] == [0, 0, 0, 0]
        command = encode_request(7, last.SOPClassUID, last.SOPInstanceUID)
        half = slices[-1].read_bytes()[read_file_meta(slices[-1]).offset : -50]
        context = association.accepted_contexts[0].context_id
        association.dul.socket.socket.sendall(data_primitive(context, 3, command) + data_primitive(context, 0, half))
        until(lambda: any(path.stat().st_size > len(half) for path in spool.tmp.iterdir()))
        association.abort()
        until(spool.associations)
    (found,) = losses(spool, database)
    assert found.kind is LossKind.NOT_FINISHED
    assert (found.series_instance_uid, found.number, found.source_ae) == (SERIES, "996", "CT1")
    assert found.sop_instance_uid == last.SOPInstanceUID


def test_an_image_that_is_refused_for_its_size(spool: Spool, database: Database, slices: list[Path]) -> None:
    settings = ListenerSettings(spool=spool.root, port=0, processes=1, reserve_bytes=0, max_object=1 << 12)
    with Listener(settings) as listener:
        datasets = [pydicom.dcmread(path) for path in slices]
        datasets[-1].PixelData = bytes(6 << 10)
        entity = AE("CT1")
        entity.add_requested_context(datasets[0].SOPClassUID, datasets[0].file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", listener.port, ae_title="SCANWARD")
        statuses = [association.send_c_store(dataset).Status for dataset in datasets]
        association.release()
        assert statuses == [0, 0, 0, 0, 0xA700]
        until(spool.associations)
    (found,) = losses(spool, database)
    assert (found.kind, found.reason) == (LossKind.REFUSED, "was refused: the object is too large")
    assert found.sop_instance_uid == datasets[-1].SOPInstanceUID


def test_an_image_on_its_way_when_the_power_went(spool: Spool, database: Database, slices: list[Path]) -> None:
    for path in slices[:-1]:
        spool.store(path)
    part = spool.open_writer("1.2.3", "0123456789abcdef-1")
    part.write(slices[-1].read_bytes()[:-40])
    part._close()  # and here the process dies
    assert Spool(spool.root, reserve=0).sweep() == 0
    (found,) = losses(spool, database)
    assert (found.kind, found.number) == (LossKind.NOT_FINISHED, "996")
