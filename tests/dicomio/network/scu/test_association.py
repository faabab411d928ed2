"""Peers that keep us waiting, or answer as the standard does not quite say."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from dicomio.errors import PeerUnreachable
from dicomio.network.scu.association import SLOWEST_RATE
from dicomio.network.scu.association_accept import clean_accept
from dicomio.network.scu.connection_control import ConnectionControl
from dicomio.network.scu.sender import Peer, SendResult, echo, send
from dicomio.network.statuses import describe_status
from tests.dicomio.support.series import until, write_series

HERE = "127.0.0.1"
VERSION_NAME = 0x55


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def pdu(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(value)) + value


def accept(*user_items: bytes, results: int = 1) -> bytes:
    """An A-ASSOCIATE-AC that takes the first contexts in Explicit VR Little Endian."""
    contexts = b"".join(
        item(0x21, bytes([2 * number + 1, 0, 0, 0]) + item(0x40, ExplicitVRLittleEndian.encode()))
        for number in range(results)
    )
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + b"".join(user_items))
    fixed = struct.pack(">HH16s16s32x", 1, 0, b"ANY", b"ANY")
    return pdu(2, fixed + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user)


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[Peer]:
    """A peer written by hand: `talk` gets each connection."""
    with socket.create_server((HERE, 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=guarded, args=(connection,), daemon=True).start()

        def guarded(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                talk(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield Peer(
            ae_title="SLOW", host=HERE, port=server.getsockname()[1], acse_timeout=1, connect_timeout=1, dimse_timeout=1
        )
        server.shutdown(socket.SHUT_RDWR)


def drip(connection: socket.socket, data: bytes) -> None:
    """A byte now and then, for as long as the other side can stand it."""
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(0.2)


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return write_series(tmp_path / "ct", 3)


def read_pdu(connection: socket.socket) -> None:
    header = connection.recv(6, socket.MSG_WAITALL)
    connection.recv(int.from_bytes(header[2:6], "big"), socket.MSG_WAITALL)


def test_a_peer_that_accepts_us_byte_by_byte(series: list[Path]) -> None:
    def talk(connection: socket.socket) -> None:
        read_pdu(connection)
        drip(connection, accept())

    with serving(talk) as peer:
        start = time.monotonic()
        with pytest.raises(PeerUnreachable, match="within 1 s"):
            send(peer, series)
        assert time.monotonic() - start < 8


def test_a_peer_that_answers_a_store_byte_by_byte(series: list[Path]) -> None:
    def talk(connection: socket.socket) -> None:
        read_pdu(connection)
        connection.sendall(accept(results=2))
        read_pdu(connection)
        drip(connection, pdu(4, bytes(1000)))

    with serving(talk) as peer:
        start = time.monotonic()
        results = send(peer, series)
        assert time.monotonic() - start < 10
    assert [result.status for result in results] == [None] * 3
    assert all("lost" in (result.error or "") for result in results)


def test_a_peer_that_takes_nothing_more(tmp_path: Path) -> None:
    """Its window is full: what hangs then is the sending."""
    (image,) = write_series(tmp_path, 1, size=512)

    def talk(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        read_pdu(connection)
        connection.sendall(accept(results=2))
        time.sleep(30)

    with serving(talk) as peer:
        start = time.monotonic()
        (result,) = send(peer, [image])
        assert time.monotonic() - start < 1 + image.stat().st_size / SLOWEST_RATE + 10
    assert result.status is None


@pytest.mark.parametrize(
    "odd",
    [
        item(VERSION_NAME, b"A VERSION NAME OF MORE THAN 16 CHARACTERS"),
        item(VERSION_NAME, b""),
        item(VERSION_NAME, "KLÍNIKUM 1".encode("latin-1")),
        item(0x52, b"not a UID"),
        item(0x5F, b"of a later edition"),
    ],
)
def test_an_answer_with_odd_user_information_is_an_answer(odd: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        read_pdu(connection)
        connection.sendall(accept(odd))
        read_pdu(connection)
        command = struct.pack("<HHIH", 0, 0x0100, 2, 0x8030) + struct.pack("<HHIH", 0, 0x0120, 2, 1)
        command += struct.pack("<HHIH", 0, 0x0800, 2, 0x0101) + struct.pack("<HHIH", 0, 0x0900, 2, 0)
        command = struct.pack("<HHII", 0, 0, 4, len(command)) + command
        value = b"\x01\x03" + command
        connection.sendall(pdu(4, struct.pack(">L", len(value)) + value))
        read_pdu(connection)
        connection.sendall(pdu(6, bytes(4)))

    with serving(talk) as peer:
        assert echo(peer).seconds > 0


def test_an_answer_that_does_not_add_up_stays_as_it_is() -> None:
    body = bytes(68) + b"\x50\x00\x00\xff\x01"
    assert clean_accept(body) == body


@contextmanager
def pacs(answer: Callable[[evt.Event], int]) -> Iterator[Peer]:
    entity = AE("PACS")
    entity.add_supported_context(Verification)
    entity.add_supported_context(CTImageStorage, [ExplicitVRLittleEndian])
    server = entity.start_server((HERE, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    try:
        yield Peer(ae_title="PACS", host=HERE, port=server.server_address[1])
    finally:
        server.shutdown()


def test_told_to_finish_it_ends_after_the_instance_that_is_being_sent(series: list[Path]) -> None:
    control, stored = ConnectionControl(), list[str]()

    def answer(event: evt.Event) -> int:
        stored.append(str(event.request.AffectedSOPInstanceUID))
        control.finish()
        return 0x0000

    with pacs(answer) as peer:
        results = send(peer, series, control=control)
    assert [result.accepted for result in results] == [True]
    assert len(stored) == 1


def test_a_closed_control_ends_what_hangs_and_opens_no_more(series: list[Path]) -> None:
    control, asked, released = ConnectionControl(), threading.Event(), threading.Event()

    def answer(event: evt.Event) -> int:
        asked.set()
        released.wait(20)
        return 0x0000

    results: list[SendResult] = []
    with pacs(answer) as peer:
        thread = threading.Thread(target=lambda: results.extend(send(peer, series, control=control)))
        thread.start()
        until(asked.is_set)
        start = time.monotonic()
        control.close()
        thread.join(10)
        assert time.monotonic() - start < 5
        released.set()
        assert send(peer, series, control=control) == []
    assert [result.status for result in results] == [None]
    assert "Scanward is stopping" in (results[0].error or "")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA700, "Failure 0xA700: refused: out of resources"),
        (0xA900, "Failure 0xA900: data set does not match SOP class"),
        (0xC123, "Failure 0xC123: cannot understand"),
        (0x0122, "Failure 0x0122: refused: SOP class not supported"),
        (0x0124, "Failure 0x0124: refused: not authorised"),
        (0x9999, "Unknown 0x9999"),
    ],
)
def test_statuses_in_words(status: int, words: str) -> None:
    assert describe_status(status) == words
    assert describe_status(status, "disk 3") == f"{words} (disk 3)"


def test_an_answer_that_the_reactor_takes_reaches_who_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine pynetdicom's reactor passes the event that should stop it; here it always does."""
    monkeypatch.setattr("pynetdicom.association.Association._reactor_checkpoint", Unstoppable(), raising=False)
    paths = write_series(tmp_path, 30)
    entity = AE("ANY")
    entity.add_supported_context(CTImageStorage)
    server = entity.start_server((HERE, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000)])
    try:
        peer = Peer(ae_title="ANY", host=HERE, port=server.socket.getsockname()[1], dimse_timeout=5)
        results: list[SendResult] = []
        send(peer, paths, on_result=results.append)
    finally:
        server.shutdown()
    assert [result.status for result in results] == [0x0000] * 30


class Unstoppable(threading.Event):
    """An event that stops nobody for long, in the place of every association's own."""

    def __set__(self, owner: object, event: threading.Event) -> None:
        vars(owner)["checkpoint"] = Passed()

    def __get__(self, owner: object, kind: type) -> threading.Event:
        event: threading.Event = vars(owner)["checkpoint"]
        return event


class Passed(threading.Event):
    """Set or not: whoever waits goes on."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0.0005) or True
