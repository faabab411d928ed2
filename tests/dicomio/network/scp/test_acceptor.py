"""Peers that are greedy, slow or many: limits on descriptors, memory, disk, time and places."""

from __future__ import annotations

import os
import resource
import shutil
import struct
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from dicomio.files.spool.free_space import SpoolFull
from dicomio.files.spool.spool import Spool
from dicomio.files.spool.writer import SpoolWriter
from dicomio.network.listener.supervisor import AllowedPeer, Listener, ListenerSettings
from dicomio.network.scu.sender import echo
from tests.dicomio.support.series import data_set, until
from tests.dicomio.support.wire import Wire, listening, p_data, request, store_command, us, wire


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_unfinished_data_sets_leave_no_descriptor_open(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener:
        with wire(listener.port, request()) as peer:  # the files made ahead are there
            peer.send(p_data(store_command(), (1, 2, b"an image")))
            assert peer.status() == 0
        until(lambda: listener.connection_counts == (0,))
        before = descriptors(listener.pids[0])
        for _ in range(70):
            with wire(listener.port, request()) as peer:
                peer.send(b"".join(p_data(store_command(number), (1, 0, b"begun")) for number in range(20)))
                assert peer.read()[0] == 0x07
        until(lambda: listener.connection_counts == (0,))
        assert descriptors(listener.pids[0]) <= before
    assert len(spool.incoming()) == 1


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
        until(lambda: listener.connection_counts == (0,))


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
            hung_up = peer.pour(p_data((1, 0, piece)), 10_000)
            # a fast sender may be through before the connection closes: what comes after A-ABORT is read and dropped
            assert hung_up or peer.socket.recv(1) == b"\x07", "it does not end, and is cut off"
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
        with pytest.raises(SpoolFull), spool.open_writer("1.2.3") as part:
            _pour(part)
        assert (8 << 20) < part.size < (20 << 20)
        assert not list(spool.tmp.iterdir())
    finally:
        shutil.rmtree(root)


def _pour(part: SpoolWriter) -> None:
    for _ in range(40):
        part.write(bytes(1 << 20))


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
        until(lambda: listener.connection_counts == (0,), 15)
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
