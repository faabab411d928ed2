"""Sloppy and broken association requests and messages: read leniently, or answered with the right reason."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.pdu import A_ASSOCIATE_RQ

from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import AllowedPeer, Listener, ListenerSettings
from dicomio.network.scp.association_request import parse_association_request
from dicomio.network.scp.protocol_errors import MalformedPDU
from dicomio.network.scu.sender import echo
from tests.dicomio.support.requestor import encode_request
from tests.dicomio.support.series import data_set, until
from tests.dicomio.support.wire import (
    ABORT_PROVIDER,
    APPLICATION,
    CT,
    ECHO_COMMAND,
    HERE,
    MALFORMED,
    UNEXPECTED,
    UNKNOWN,
    USER,
    context,
    item,
    listening,
    p_data,
    pdu,
    request,
    store_command,
    us,
    wire,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    """A listener that bears peer after peer."""
    spool = tmp_path_factory.mktemp("shared") / "spool"
    with Listener(ListenerSettings(spool=spool, host=HERE, port=0, processes=1, grace=1.0)) as listener:
        yield listener


@pytest.fixture
def port(shared: Listener, capsys: pytest.CaptureFixture[str]) -> Iterator[int]:
    """Its port; afterwards it still answers, has logged no traceback, and has left nothing behind."""
    yield shared.port
    echo(us(shared.port))
    until(lambda: shared.connection_counts == (0,))
    assert "Traceback" not in capsys.readouterr().out


SLOPPY = {
    "NUL-padded titles": {"called": b"SCANWARD".ljust(16, b"\0"), "calling": b"CT1".ljust(16, b"\0")},
    "rubbish after NUL": {"called": b"SCANWARD\0xyz", "calling": b"CT1\0\xff"},
    "leading spaces": {"called": b"   SCANWARD", "calling": b"  CT1"},
    "protocol version 3": {"version": 3},
    "protocol version 0xFFFF": {"version": 0xFFFF},
    "long version name": {"user": USER + item(0x55, b"A_VERSION_NAME_OF_MORE_THAN_16_CHARACTERS")},
    "empty version name": {"user": USER + item(0x55, b"")},
    "unknown user item": {"user": USER + item(0x7F, b"whatever") + item(0x5A, b"")},
    "broken negotiation item": {"user": USER + item(0x54, b"\x00\x20") + item(0x56, b"\xff")},
    "identity": {"user": USER + item(0x58, b"\x01\x01\x00\x04user\x00\x00")},
    "no maximum length": {"user": item(0x52, b"1.2.3.4")},
    "no user information": {"user": b""},
    "tiny maximum length": {"user": item(0x51, struct.pack(">I", 7)) + item(0x52, b"1.2.3.4")},
    "application context with NUL": {"application": item(0x10, b"1.2.840.10008.3.1.1.1\0")},
    "unknown item": {"application": APPLICATION + item(0x77, b"whatever")},
    "padding at the end": {"user": USER + bytes(3)},
}


@pytest.mark.parametrize("sloppy", SLOPPY.values(), ids=SLOPPY)
def test_sloppy_requests_are_accepted(shared: Listener, port: int, sloppy: dict[str, bytes]) -> None:
    spool = Spool(shared.settings.spool)
    before = set(spool.incoming())
    with wire(port, request(**sloppy)) as peer:  # type: ignore[arg-type]
        peer.send(p_data(store_command()) + p_data((1, 2, b"an image")))
        assert peer.status() == 0
        peer.send(pdu(0x05, bytes(4)))
        assert peer.read()[0] == 0x06
    (path,) = set(spool.incoming()) - before
    assert data_set(path) == b"an image"


def test_a_caller_without_a_name_is_taken_where_everybody_is(
    settings: ListenerSettings, spool: Spool, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening(settings, capsys) as listener, wire(listener.port, request(calling=bytes(16))) as peer:
        peer.send(p_data(store_command(), (1, 2, b"an image")))
        assert peer.status() == 0
    assert len(spool.incoming()) == 1
    restricted = replace(settings, allow=(AllowedPeer(ae_title="CT1"),))
    with listening(restricted, capsys) as listener, wire(listener.port) as peer:
        peer.send(request(calling=b" " * 16))
        assert peer.read() == (0x03, bytes([0, 1, 1, 3]))


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (request(version=2), (0x03, bytes([0, 1, 2, 2]))),
        (request(application=item(0x10, b"1.2.3")), (0x03, bytes([0, 1, 1, 2]))),
        (request(called=bytes(16)), (0x03, bytes([0, 1, 1, 7]))),
        (request(called=b"OTHER"), (0x03, bytes([0, 1, 1, 7]))),
        (request()[:-2] + b"\xff\xff", (0x02, None)),  # the implementation class UID ends oddly
        (pdu(0x01, bytes(10)), (0x07, bytes([0, 0, ABORT_PROVIDER, MALFORMED]))),
        (pdu(0x01, request()[6:] + b"\x20\x00\x00\xff"), (0x07, bytes([0, 0, ABORT_PROVIDER, MALFORMED]))),
        (pdu(0x04, bytes(10)), (0x07, bytes([0, 0, ABORT_PROVIDER, UNEXPECTED]))),
        (pdu(0x05, bytes(4)), (0x07, bytes([0, 0, ABORT_PROVIDER, UNEXPECTED]))),
        (pdu(0x44, bytes(4)), (0x07, bytes([0, 0, ABORT_PROVIDER, UNKNOWN]))),
    ],
)
def test_what_cannot_be_accepted_hears_why(port: int, asked: bytes, answer: tuple[int, bytes | None]) -> None:
    with wire(port) as peer:
        peer.send(asked)
        kind, body = peer.read()
        assert kind == answer[0]
        assert answer[1] in (None, body)


def test_contexts_that_cannot_be_accepted_are_refused_one_by_one(port: int) -> None:
    odd = context(2, CTImageStorage, ExplicitVRLittleEndian) + context(5, CTImageStorage) + context(7, "", "1.2.3")
    odd += context(0, CTImageStorage, "1.2.3") + context(9, "1.2.840.10008.5.1.4.31", "1.2.840.10008.1.2")
    with wire(port) as peer:
        peer.send(request(contexts=odd + CT))
        kind, body = peer.read()
        assert kind == 0x02
        results = {}
        at = 68
        while at < len(body):
            length = int.from_bytes(body[at + 2 : at + 4], "big")
            if body[at] == 0x21:
                results[body[at + 4]] = body[at + 6]
            at += 4 + length
        assert results == {2: 2, 0: 2, 5: 4, 7: 3, 9: 3, 1: 0}
        peer.send(p_data(store_command(), (1, 2, b"an image")))
        assert peer.status() == 0


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # pydicom
@given(st.binary(max_size=300), st.integers(0, 200), st.sampled_from([b"", bytes(68), request()[6:]]))
def test_any_request_is_read_or_malformed(data: bytes, at: int, around: bytes) -> None:
    try:
        read = parse_association_request(around[:at] + data + around[at + len(data) :])
    except MalformedPDU:
        return
    decoded = A_ASSOCIATE_RQ()
    with pytest.MonkeyPatch.context() as patch:  # as `relax_pynetdicom_checks` does for a listener process
        patch.setitem(_config.VALIDATORS, "UI", lambda uid: (True, ""))
        decoded.decode(read.clean)
    assert decoded.protocol_version == 1


@pytest.mark.parametrize(
    ("sent", "how"),
    [
        (pdu(0x07, b"\0\0\xff\xff"), "aborted"),
        (pdu(0x07, b""), "aborted"),
        (pdu(0x05, b"\xff" * 9), "released"),
        (pdu(0x02, b"\xff" * 100), "aborted"),
        (pdu(0x03, b"\xff" * 4), "aborted"),
        (pdu(0x06, bytes(4)), "aborted"),
        (request(), "aborted"),
    ],
)
def test_associations_end_whatever_the_end_says(shared: Listener, port: int, sent: bytes, how: str) -> None:
    spool = Spool(shared.settings.spool)
    before = set(spool.associations())
    with wire(port, request()) as peer:
        peer.send(sent)
        until(lambda: set(spool.associations()) - before)
    (record,) = set(spool.associations()) - before
    assert json.loads(record.read_text())["how"] == how


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x04\x00\x00\x00\x00\x06\x00\x00\xff\xff\x01\x03",
        b"\x04\x00\x00\x00\x00\x03\x00\x00\x00",
        p_data((1, 3, b"nonsense that is no command")),
        p_data((1, 0, b"a data set without command")),
        p_data((5, 3, encode_request(1, CTImageStorage, "1.2.3"))),
        p_data(store_command(), (3, 0, b"in another context")),
        p_data((1, 1, bytes(70_000))),
    ],
)
def test_after_nonsense_there_is_an_abort_with_a_reason(port: int, nonsense: bytes) -> None:
    with wire(port, request()) as peer:
        peer.send(nonsense)
        assert peer.read() == (0x07, bytes([0, 0, ABORT_PROVIDER, MALFORMED]))
        assert peer.ends()


def test_commands_that_are_not_served_are_answered(port: int) -> None:
    find = encode_request(5, CTImageStorage, "1.2.3").replace(struct.pack("<IH", 2, 1), struct.pack("<IH", 2, 0x20), 1)
    with wire(port, request()) as peer:
        peer.send(p_data((1, 3, find)) + p_data((1, 0, bytes(1000)), (1, 2, bytes(1000))))
        assert peer.status() == 0x0211
        peer.send(p_data((3, 3, ECHO_COMMAND)))
        assert peer.status() == 0


def test_images_that_share_a_pdu_are_answered_at_once(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener, wire(listener.port, request()) as peer:
        values = [value for number in range(6) for value in (store_command(number), (1, 2, b"an image"))]
        start = time.monotonic()
        peer.send(p_data(*values))
        assert [peer.status() for _ in range(6)] == [0] * 6
        assert time.monotonic() - start < 1.0, "they were answered half a second apart"
    assert len(spool.incoming()) == 6


def test_a_data_pdu_has_a_limit_too(port: int) -> None:
    with wire(port, request()) as peer:
        peer.send(struct.pack(">BxI", 0x04, 60 << 20))
        assert peer.read() == (0x07, bytes([0, 0, ABORT_PROVIDER, MALFORMED]))
