"""The upper layer in bytes (PS3.8, 9.3), for tests that play a peer by hand."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.sop_class import Verification

from dicomio.network.listener.supervisor import Listener, ListenerSettings
from dicomio.network.scp.messages import parse_command
from dicomio.network.scu.association import Peer
from dicomio.network.scu.sender import echo
from tests.dicomio.support.requestor import encode_request

HERE = "127.0.0.1"
ABORT_PROVIDER = 0x02
MALFORMED, UNEXPECTED, UNKNOWN = 0x06, 0x02, 0x01


def us(port: int) -> Peer:
    return Peer(ae_title="SCANWARD", host=HERE, port=port, calling_ae="CT1")


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def context(number: int, sop_class: str = CTImageStorage, *syntaxes: str) -> bytes:
    names = [item(0x30, sop_class.encode())] + [item(0x40, one.encode()) for one in syntaxes]
    return item(0x20, bytes([number, 0, 0, 0]) + b"".join(names))


CT = context(1, CTImageStorage, ExplicitVRLittleEndian)
ECHO = context(3, Verification, ExplicitVRLittleEndian)
APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")
USER = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4")


def request(
    *,
    version: int = 1,
    called: bytes = b"SCANWARD",
    calling: bytes = b"CT1",
    application: bytes = APPLICATION,
    contexts: bytes = CT + ECHO,
    user: bytes = USER,
) -> bytes:
    titles = called.ljust(16) + calling.ljust(16)
    return pdu(0x01, struct.pack(">HH", version, 0) + titles + bytes(32) + application + contexts + item(0x50, user))


def p_data(*values: tuple[int, int, bytes]) -> bytes:
    """A P-DATA-TF PDU of (context id, control header, content)."""
    return pdu(0x04, b"".join(struct.pack(">IBB", len(one) + 2, number, flags) + one for number, flags, one in values))


def store_command(number: int = 1) -> tuple[int, int, bytes]:
    return 1, 3, encode_request(number, CTImageStorage, f"1.2.{number}")


ECHO_COMMAND = struct.pack("<HHI18s", 0, 0x0002, 18, b"1.2.840.10008.1.1\0") + b"".join(
    struct.pack("<HHIH", 0, element, 2, value) for element, value in ((0x0100, 0x0030), (0x0110, 9), (0x0800, 0x0101))
)


class Wire:
    """A connection that sends and reads bytes."""

    def __init__(self, port: int, source: str = "") -> None:
        self.socket = socket.create_connection((HERE, port), 10, source_address=(source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (0, b"") when the connection has ended."""
        header = self._exactly(6)
        return (header[0], self._exactly(int.from_bytes(header[2:], "big"))) if header else (0, b"")

    def status(self) -> int:
        """Of the next response."""
        command, last = b"", 0
        while not last:
            kind, body = self.read()
            assert kind == 0x04
            command, last = command + body[6:], body[5] & 2
        return int.from_bytes(parse_command(command)[0x0900], "little")

    def pour(self, data: bytes, times: int) -> bool:
        """Send again and again; whether the peer hung up meanwhile."""
        try:
            for _ in range(times):
                self.send(data)
        except OSError:
            return True
        return False

    def ends(self) -> bool:
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                return b""
            data += piece
        return data


@contextmanager
def wire(port: int, asked: bytes | None = None, source: str = "") -> Iterator[Wire]:
    """A connection, with an association if something is asked for."""
    opened = Wire(port, source)
    with opened.socket:
        if asked is not None:
            opened.send(asked)
            assert opened.read()[0] == 0x02
        yield opened


@contextmanager
def listening(settings: ListenerSettings, capsys: pytest.CaptureFixture[str]) -> Iterator[Listener]:
    """A listener that logs no traceback, whatever is done to it."""
    capsys.readouterr()
    with Listener(settings) as listener:
        yield listener
        echo(us(listener.port))
    assert "Traceback" not in capsys.readouterr().out
