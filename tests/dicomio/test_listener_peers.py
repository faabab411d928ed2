"""The listener against peers that are sloppy, slow, greedy or hostile, spoken to in bytes; its supervisor in need."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import _config
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.sop_class import Verification

from dicomio.association_request import parse_association_request
from dicomio.calling import Peer
from dicomio.errors import PeerRefused, PeerUnreachable
from dicomio.listener import AllowedPeer, Listener, ListenerSettings
from dicomio.peer_faults import MalformedPDU
from dicomio.sender import echo
from dicomio.spool import Part, Spool, SpoolFull
from dicomio.store_messages import parse_command

from .network import data_set, until
from .requestor import encode_request

HERE = "127.0.0.1"
ABORT_PROVIDER = 0x02
MALFORMED, UNEXPECTED, UNKNOWN = 0x06, 0x02, 0x01


@pytest.fixture
def settings(tmp_path: Path) -> ListenerSettings:
    return ListenerSettings(spool=tmp_path / "spool", host=HERE, port=0, processes=1, grace=1.0)


@pytest.fixture
def spool(settings: ListenerSettings) -> Spool:
    return Spool(settings.spool)


def us(port: int) -> Peer:
    return Peer(ae_title="SCANWARD", host=HERE, port=port, calling_ae="CT1")


# Bytes of the upper layer (PS3.8, 9.3)


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
    until(lambda: shared.loads == (0,))
    assert "Traceback" not in capsys.readouterr().out


# Sloppy association requests

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
    with pytest.MonkeyPatch.context() as patch:  # as `be_lenient` does for a listener process
        patch.setitem(_config.VALIDATORS, "UI", lambda uid: (True, ""))
        decoded.decode(read.clean)
    assert decoded.protocol_version == 1


# Messages that do not hold together


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


# Descriptors


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_unfinished_data_sets_leave_no_descriptor_open(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener:
        with wire(listener.port, request()) as peer:  # the stock of prepared files is there
            peer.send(p_data(store_command(), (1, 2, b"an image")))
            assert peer.status() == 0
        until(lambda: listener.loads == (0,))
        before = descriptors(listener.pids[0])
        for _ in range(70):
            with wire(listener.port, request()) as peer:
                peer.send(b"".join(p_data(store_command(number), (1, 0, b"begun")) for number in range(20)))
                assert peer.read()[0] == 0x07
        until(lambda: listener.loads == (0,))
        assert descriptors(listener.pids[0]) <= before
    assert len(spool.incoming()) == 1


def test_who_cannot_store_says_so(settings: ListenerSettings, spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    with Listener(settings) as listener:
        assert listener.state.watched
        (process,) = listener.state.processes
        assert (process.pid, process.ready, process.trouble) == (listener.pids[0], True, "")
        spool.incoming_folder.rename(spool.root / "gone")
        with pytest.raises(PeerRefused, match="0x0110"):
            echo(us(listener.port))
        until(lambda: "incoming" in listener.state.processes[0].trouble)
        (spool.root / "gone").rename(spool.incoming_folder)
        echo(us(listener.port))
        until(lambda: listener.state.processes[0].trouble == "")
    assert "storing_works_again" in capsys.readouterr().out


def test_no_descriptors_left_is_said_and_passes(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener, wire(listener.port, request()) as peer:
        pid = listener.pids[0]
        peer.send(p_data(store_command(98), (1, 2, b"an image")))
        assert peer.status() == 0
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert limits[0] == limits[1], "it takes what it may"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        statuses = []
        for number in range(80):  # those with a prepared file go through
            peer.send(p_data(store_command(number), (1, 2, b"an image")))
            statuses.append(peer.status())
        assert statuses[-1] == 0xA700
        assert set(statuses) <= {0, 0xA700}
        until(lambda: "Too many open files" in listener.state.processes[0].trouble)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        peer.send(p_data(store_command(99), (1, 2, b"an image")))
        assert peer.status() == 0
        until(lambda: listener.state.processes[0].trouble == "")
    assert len(spool.incoming()) == statuses.count(0) + 2


# Memory and disk


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_who_has_no_association_gets_no_memory(settings: ListenerSettings, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(settings, capsys) as listener:
        echo(us(listener.port))
        before = resident(listener.pids[0])
        with ExitStack() as stack:
            peers = [stack.enter_context(wire(listener.port)) for _ in range(30)]
            for number, peer in enumerate(peers):
                peer.send(struct.pack(">BxI", (0x01, 0x04)[number % 2], 60 << 20))
                peer.pour(bytes(1 << 20), 8)
            assert resident(listener.pids[0]) - before < 20 << 20
        until(lambda: listener.loads == (0,))


def test_a_data_pdu_has_a_limit_too(port: int) -> None:
    with wire(port, request()) as peer:
        peer.send(struct.pack(">BxI", 0x04, 60 << 20))
        assert peer.read() == (0x07, bytes([0, 0, ABORT_PROVIDER, MALFORMED]))


def test_an_object_has_a_limit(settings: ListenerSettings, spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    piece = bytes(100_000)
    with listening(replace(settings, max_object=1_000_000), capsys) as listener:
        with wire(listener.port, request()) as peer:
            peer.send(p_data(store_command(1)) + 12 * p_data((1, 0, piece)) + p_data((1, 2, piece)))
            assert peer.status() == 0xA700
            peer.send(p_data(store_command(2)) + 9 * p_data((1, 0, piece)) + p_data((1, 2, piece)))
            assert peer.status() == 0
        with wire(listener.port, request()) as peer:
            peer.send(p_data(store_command(3)))
            assert peer.pour(p_data((1, 0, piece)), 10_000), "it does not end, and is cut off"
    assert [len(data_set(path)) for path in spool.incoming()] == [1_000_000]
    assert not list(spool.tmp.iterdir())


def test_the_reserve_is_looked_at_while_writing() -> None:
    memory = Path("/dev/shm")  # a disk that nobody else fills or empties meanwhile
    if not memory.is_dir():
        pytest.skip("no /dev/shm here")
    root = memory / f"scanward-test-{os.getpid()}"
    try:
        spool = Spool(root, reserve=0)
        spool.reserve = spool.free_bytes() - (10 << 20)
        with pytest.raises(SpoolFull), spool.open_part("1.2.3") as part:
            _pour(part)
        assert (8 << 20) < part.size < (20 << 20)
        assert not list(spool.tmp.iterdir())
    finally:
        shutil.rmtree(root)


def _pour(part: Part) -> None:
    for _ in range(40):
        part.write(bytes(1 << 20))


# Slow peers and many peers


def drip(peers: list[Wire], data: bytes, until_closed: threading.Event) -> None:
    for at in range(len(data)):
        for peer in peers:
            try:
                peer.send(data[at : at + 1])
            except OSError:
                continue
        if until_closed.wait(0.2):
            return


def test_slow_requests_lock_nobody_out_and_are_cut_off(settings: ListenerSettings) -> None:
    done = threading.Event()
    with ExitStack() as stack, Listener(replace(settings, acse_timeout=3.0, max_associations=8)) as listener:
        peers = [stack.enter_context(wire(listener.port)) for _ in range(60)]
        dripping = threading.Thread(target=drip, args=(peers, request(), done))
        dripping.start()
        start = time.monotonic()
        for _ in range(5):
            echo(us(listener.port))
        assert time.monotonic() - start < 2.5
        until(lambda: listener.loads == (0,), 15)
        assert time.monotonic() - start < 15
        done.set()
        dripping.join()


@pytest.mark.parametrize("limits", [{"pdu_timeout": 1.0}, {"network_timeout": 1.0, "slowest_rate": 100_000}])
def test_a_slow_image_is_cut_off(
    settings: ListenerSettings, limits: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    within_pdu = "pdu_timeout" in limits
    with listening(replace(settings, **limits), capsys) as listener, wire(listener.port, request()) as peer:  # type: ignore[arg-type]
        peer.send(p_data(store_command()))
        whole = p_data((1, 0, bytes(1000)))
        start = time.monotonic()
        while not peer.pour(whole[:1] if within_pdu else whole, 1):
            assert time.monotonic() - start < 8, "it is not cut off"
            whole = whole[1:] if within_pdu else whole
            time.sleep(0.05)


def test_one_address_does_not_take_every_place(settings: ListenerSettings) -> None:
    with ExitStack() as stack, Listener(replace(settings, max_associations_per_host=3)) as listener:
        for _ in range(3):
            stack.enter_context(wire(listener.port, request()))
        with wire(listener.port) as peer:
            peer.send(request())
            assert peer.read() == (0x03, bytes([0, 2, 3, 2]))
        with wire(listener.port, request(), source="127.0.0.2"):
            pass


def test_who_may_not_call_takes_nobodys_place(settings: ListenerSettings) -> None:
    allow = (AllowedPeer(ae_title="CT1"),)
    with ExitStack() as stack, Listener(replace(settings, allow=allow, max_associations=1)) as listener:
        peers = [stack.enter_context(wire(listener.port)) for _ in range(3)]
        for peer in peers:
            peer.send(request(calling=b"EVIL"))
        echo(us(listener.port))
        assert [peer.read() for peer in peers] == [(0x03, bytes([0, 1, 1, 3]))] * 3


# The supervisor


def test_processes_are_replaced_once_the_machine_has_room_again(
    settings: ListenerSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Listener(settings) as listener:
        (pid,) = listener.pids
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            os.kill(pid, signal.SIGKILL)
            until(lambda: "Too many open files" in listener.state.processes[0].trouble)
            state = listener.state
            assert state.watched
            assert (state.processes[0].pid, state.processes[0].ready) == (None, False)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        until(lambda: listener.state.processes[0].ready, 40)
        assert listener.pids != (pid,)
        echo(us(listener.port))
    assert "listener_process_not_started" in capsys.readouterr().out


def test_a_listener_that_has_stopped_says_so(settings: ListenerSettings) -> None:
    with Listener(settings) as listener:
        pass
    assert listener.loads == (0,)
    assert not listener.state.watched
    with pytest.raises(PeerUnreachable):
        echo(us(listener.port))
