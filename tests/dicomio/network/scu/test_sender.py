"""The sender, against Orthanc, dcmtk's storescp, pynetdicom and our own listener."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from dicomio.errors import PeerRefused, PeerUnreachable
from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import Listener, ListenerSettings
from dicomio.network.scu.outgoing_files import OutgoingFile, batches
from dicomio.network.scu.sender import Peer, SendResult, count_instances, echo, send
from dicomio.results.uids import derived_uid
from tests.dicomio.support.series import ct_image, data_set, until, write_series

HERE = "127.0.0.1"


class PACS:
    """A pynetdicom peer that takes what it is told to take, and answers what it is told to answer."""

    def __init__(self, *syntaxes: str, answer: Callable[[evt.Event], Any] = lambda event: 0x0000) -> None:
        self.stored: list[tuple[str, bytes]] = []
        self.answer = answer
        self.associations = 0
        self.entity = AE("PACS")
        self.entity.add_supported_context(Verification)
        self.entity.add_supported_context(CTImageStorage, list(syntaxes))
        self.entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)

    def _store(self, event: evt.Event) -> Any:
        status = self.answer(event)
        if status == 0:
            self.stored.append((event.context.transfer_syntax, event.request.DataSet.getvalue()))
        return status

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        if event.identifier.StudyInstanceUID == "1.2.3":
            found = Dataset()
            found.StudyInstanceUID, found.NumberOfStudyRelatedInstances = "1.2.3", 42
            yield 0xFF00, found
        elif event.identifier.StudyInstanceUID == "1.2.4":
            yield 0xA700, None

    def _established(self, event: evt.Event) -> None:
        self.associations += 1

    @contextmanager
    def running(self, **options: Any) -> Iterator[Peer]:
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_ESTABLISHED, self._established),
        ]
        server = self.entity.start_server((HERE, 0), block=False, evt_handlers=handlers)
        try:
            yield Peer(ae_title="PACS", host=HERE, port=server.server_address[1], calling_ae="SCANWARD", **options)
        finally:
            server.shutdown()


def compressed(path: Path, syntax: str) -> Path:
    """A CT image, compressed by pydicom's own encoders."""
    image = ct_image(size=32)
    image.PixelData = b"\x07\x01" * 32 * 32
    image.compress(syntax, generate_instance_uid=False)
    image.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return write_series(tmp_path / "ct", 10, size=64)


def test_a_series_goes_out_unchanged_over_one_association(series: list[Path]) -> None:
    pacs, told = PACS(ExplicitVRLittleEndian), list[SendResult]()
    with pacs.running() as peer:
        results = send(peer, series, on_result=told.append)
    assert results == told
    assert [result.path for result in results] == series
    assert all(result.accepted and result.status == 0 and result.error is None for result in results)
    assert [result.sop_instance_uid for result in results] == [pydicom.dcmread(p).SOPInstanceUID for p in series]
    assert [stored for _, stored in pacs.stored] == [data_set(path) for path in series]
    assert pacs.associations == 1


def test_orthanc_takes_it(orthanc: Any, series: list[Path]) -> None:
    peer = Peer(ae_title="ORTHANC", host="localhost", port=orthanc.dicom_port)
    assert echo(peer).seconds > 0
    assert all(result.accepted for result in send(peer, series))


def test_dcmtk_takes_it(series: list[Path], needs: Callable[..., str], free_port: int, tmp_path: Path) -> None:
    """storescp announces a small PDU, so that each image is cut into many pieces."""
    (tmp_path / "out").mkdir()
    command = [needs("storescp", package="dcmtk"), "-pdu", "4096", "-od", str(tmp_path / "out"), str(free_port)]
    server = subprocess.Popen(command)
    try:
        peer = Peer(ae_title="ANY", host=HERE, port=free_port)
        until(lambda: _answers(peer))
        assert all(result.accepted for result in send(peer, series))
    finally:
        server.terminate()
        server.wait()
    arrived = [pydicom.dcmread(path).PixelData for path in (tmp_path / "out").iterdir()]
    assert sorted(arrived) == sorted(pydicom.dcmread(path).PixelData for path in series)


def _answers(peer: Peer) -> bool:
    try:
        echo(peer)
    except PeerUnreachable:
        return False
    return True


def test_our_own_listener_takes_it(series: list[Path], tmp_path: Path) -> None:
    with Listener(ListenerSettings(spool=tmp_path / "spool", host=HERE, port=0, processes=1)) as listener:
        results = send(Peer(ae_title="SCANWARD", host=HERE, port=listener.port), series)
    assert all(result.accepted for result in results)
    assert sorted(map(data_set, Spool(tmp_path / "spool").incoming())) == sorted(map(data_set, series))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_lossless_compression_is_kept_if_the_peer_takes_it(tmp_path: Path, syntax: str) -> None:
    path, pacs = compressed(tmp_path / "x.dcm", syntax), PACS(ExplicitVRLittleEndian, syntax)
    with pacs.running() as peer:
        assert send(peer, [path])[0].accepted
    assert pacs.stored == [(syntax, data_set(path))]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("taken", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_lossless_compression_is_undone_if_the_peer_does_not_take_it(tmp_path: Path, syntax: str, taken: str) -> None:
    path, pacs = compressed(tmp_path / "x.dcm", syntax), PACS(taken)
    with pacs.running() as peer:
        (result,) = send(peer, [path])
    assert result.accepted
    ((used, stored),) = pacs.stored
    image = _read(used, stored)
    assert (image.pixel_array == pydicom.dcmread(path).pixel_array).all()
    assert image.SOPInstanceUID == result.sop_instance_uid == pydicom.dcmread(path).SOPInstanceUID


def test_lossy_compression_is_not_undone(tmp_path: Path) -> None:
    path = compressed(tmp_path / "x.dcm", JPEGLSLossless)
    image = pydicom.dcmread(path)
    image.file_meta.TransferSyntaxUID = JPEGLSNearLossless  # which may be lossy, nobody can tell
    image.save_as(path)
    pacs = PACS(ExplicitVRLittleEndian)
    with pacs.running() as peer:
        (result,) = send(peer, [path])
    assert (result.accepted, result.status) == (False, None)
    assert "cannot be converted without loss" in (result.error or "")
    assert pacs.stored == []


@pytest.mark.parametrize("taken", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("own", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_uncompressed_files_are_re_encoded_if_need_be(tmp_path: Path, own: str, taken: str) -> None:
    image, pacs = ct_image(syntax=pydicom.uid.UID(own)), PACS(taken)
    image.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    with pacs.running() as peer:
        assert send(peer, [tmp_path / "x.dcm"])[0].accepted
    ((used, stored),) = pacs.stored
    assert used == taken
    assert _read(used, stored).PixelData == image.PixelData


def test_big_endian_is_sent_as_it_is_or_not_at_all(tmp_path: Path) -> None:
    image = ct_image(syntax=ExplicitVRBigEndian)
    image.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    for pacs, accepted in ((PACS(ExplicitVRBigEndian), True), (PACS(ExplicitVRLittleEndian), False)):
        with pacs.running() as peer:
            assert send(peer, [tmp_path / "x.dcm"])[0].accepted == accepted


def _read(syntax: str, stored: bytes) -> Dataset:
    from io import BytesIO

    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset

    uid = pydicom.uid.UID(syntax)
    dataset = read_dataset(BytesIO(stored), uid.is_implicit_VR, uid.is_little_endian)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid
    return dataset


def test_more_kinds_than_one_association_can_propose(tmp_path: Path) -> None:
    paths = []
    for number in range(150):
        image = ct_image(number)
        image.SOPClassUID = derived_uid("class", str(number))
        paths.append(tmp_path / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    assert [len(contexts) for _, contexts in batches(map(OutgoingFile.of, paths))] == [128, 128, 44]
    with Listener(ListenerSettings(spool=tmp_path / "spool", host=HERE, port=0, processes=1)) as listener:
        results = send(Peer(ae_title="SCANWARD", host=HERE, port=listener.port), paths)
    assert sum(result.accepted for result in results) == 150
    assert len(Spool(tmp_path / "spool").associations()) == 3


@pytest.mark.parametrize(
    ("status", "accepted", "error"),
    [
        (0x0000, True, None),
        (0xB000, True, None),
        (0xB007, True, None),
        (0xA700, False, "0xA700"),
        (0xA900, False, "0xA900"),
        (0xC123, False, "0xC123"),
        (0x0122, False, "0x0122"),
        (0x0111, True, None),  # likely after an answer that was lost
    ],
)
def test_what_the_peer_answers(series: list[Path], status: int, accepted: bool, error: str | None) -> None:
    pacs = PACS(ExplicitVRLittleEndian, answer=lambda event: status)
    with pacs.running() as peer:
        results = send(peer, series[:2])
    assert [(result.status, result.accepted) for result in results] == [(status, accepted)] * 2
    assert (error is None) == (results[0].error is None)
    assert error is None or error in (results[0].error or "")
    assert results[0].warning == (status >> 12 == 0xB)


def test_files_that_cannot_be_sent_do_not_hold_up_the_others(series: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no DICOM")
    paths = [tmp_path / "text", series[0], tmp_path / "missing", series[1]]
    with PACS(ExplicitVRLittleEndian).running() as peer:
        results = {result.path: result for result in send(peer, paths)}
    assert [results[path].accepted for path in paths] == [False, True, False, True]
    assert results[tmp_path / "text"].status is None
    assert "not sent" in (results[tmp_path / "missing"].error or "")


def test_nothing_to_send_calls_nobody() -> None:
    assert send(Peer(ae_title="X", host=HERE, port=1), []) == []


def test_an_association_lost_on_the_way_keeps_what_was_accepted(series: list[Path]) -> None:
    def answer(event: evt.Event) -> int:
        if len(pacs.stored) == 3:
            event.assoc.abort()
        return 0x0000

    pacs = PACS(ExplicitVRLittleEndian, answer=answer)
    with pacs.running() as peer:
        results = send(peer, series)
    assert [result.accepted for result in results] == [True] * 3 + [False] * 7
    assert all(result.status is None and "lost" in (result.error or "") for result in results[3:])


def test_a_peer_that_does_not_answer_a_store(series: list[Path]) -> None:
    released = threading.Event()

    def answer(event: evt.Event) -> int:
        released.wait(10)
        return 0x0000

    with PACS(ExplicitVRLittleEndian, answer=answer).running(dimse_timeout=0.5) as peer:
        start = time.monotonic()
        results = send(peer, series[:2])
        assert time.monotonic() - start < 5
        released.set()
    assert [result.status for result in results] == [None, None]


def test_nobody_there(free_port: int) -> None:
    with pytest.raises(PeerUnreachable, match="Connection refused"):
        echo(Peer(ae_title="X", host=HERE, port=free_port))
    with pytest.raises(PeerUnreachable, match=r"X at nowhere.invalid:104 cannot be reached"):
        echo(Peer(ae_title="X", host="nowhere.invalid", port=104))


def test_somebody_else_there() -> None:
    """A server that accepts the connection and then says nothing, nonsense, or goodbye."""
    answers = [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", None]
    with socket.create_server((HERE, 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    if answer is None:
                        time.sleep(1.5)
                    else:
                        connection.recv(10_000)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        for _ in answers:
            with pytest.raises(PeerUnreachable):
                echo(Peer(ae_title="X", host=HERE, port=server.getsockname()[1], acse_timeout=0.5))
        thread.join()


def test_rejected_for_good_and_for_now() -> None:
    pacs = PACS(ExplicitVRLittleEndian)
    pacs.entity.require_calling_aet = ["SOMEBODY"]
    with pacs.running() as peer, pytest.raises(PeerRefused, match="calling AE title not recognised"):
        echo(peer)
    pacs.entity.require_calling_aet = []
    pacs.entity.maximum_associations = 1
    with pacs.running() as peer:
        from pynetdicom.presentation import build_context

        from dicomio.network.scu.association import association

        with association(peer, [build_context(Verification)]), pytest.raises(PeerUnreachable, match="limit exceeded"):
            echo(peer)


def test_nothing_of_ours_is_taken(series: list[Path]) -> None:
    with PACS(JPEGLSNearLossless).running() as peer, pytest.raises(PeerRefused, match="accepts none"):
        send(peer, series)


def test_counting() -> None:
    with PACS(ExplicitVRLittleEndian).running() as peer:
        assert count_instances(peer, "1.2.3") == 42
        assert count_instances(peer, "1.2.4") is None
        assert count_instances(peer, "1.2.5") is None
