"""The listener's processes: killed, replaced, stopped."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dicomio.errors import PeerRefused, PeerUnreachable
from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import Listener, ListenerSettings
from dicomio.network.scu.sender import SendResult, echo, send
from tests.dicomio.support.requestor import pynetdicom_association
from tests.dicomio.support.series import NODELAY, ct_image, data_set, until, write_series
from tests.dicomio.support.wire import HERE, us


def acknowledged(log: str, sent: list[Path]) -> list[Path]:
    """The files whose Success storescu reports: it sends them in order, and says so."""
    stored = []
    for line in log.splitlines():
        if found := re.search(r"Sending file: (.+)$", line):
            current = Path(found[1])
        elif "Received Store Response (Success)" in line:
            stored.append(current)
    assert stored == sent[: len(stored)]
    return stored


@pytest.mark.parametrize("images_before", [1, 7, 30, 80])
def test_kill_9_of_a_listener_process_loses_nothing_acknowledged(
    settings: ListenerSettings, spool: Spool, images_before: int, needs: Callable[..., str], tmp_path: Path
) -> None:
    sent = write_series(tmp_path / "ct", 120, size=128)
    with Listener(replace(settings, processes=2)) as listener:
        pids = listener.pids
        command = [
            needs("storescu", package="dcmtk"),
            "-v",
            "-aec",
            "SCANWARD",
            HERE,
            str(listener.port),
            *map(str, sent),
        ]
        with (tmp_path / "log").open("w") as log:
            scanner = subprocess.Popen(command, env=NODELAY, stdout=log, stderr=log)
        until(lambda: len(spool.incoming()) >= images_before)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        scanner.wait()
        stored = acknowledged((tmp_path / "log").read_text(), sent)
        assert images_before - 1 <= len(stored) < 120
        until(lambda: not set(listener.pids) & set(pids), 30)
        until(lambda: _answers(listener.port), 30)
        assert all(result.accepted for result in send(us(listener.port), sent[-3:]))
    whole = set(map(data_set, sent))
    arrived = [data_set(path) for path in spool.incoming()]
    assert set(map(data_set, stored)) <= set(arrived)
    assert set(arrived) <= whole, "nothing half-written is visible"
    assert list(spool.tmp.iterdir()) == []


DAEMON = """
import sys, time
from pathlib import Path
from dicomio.network.listener.supervisor import Listener, ListenerSettings
settings = ListenerSettings(spool=Path(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), grace=1.0)
with Listener(settings) as listener:
    print(*listener.pids, flush=True)
    time.sleep(600)
"""


def test_kill_9_of_the_daemon_frees_the_port_and_loses_nothing(
    settings: ListenerSettings, spool: Spool, free_port: int, tmp_path: Path
) -> None:
    sent = write_series(tmp_path / "ct", 200, size=128)
    command = [sys.executable, "-c", DAEMON, str(settings.spool), str(free_port)]
    daemon = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    told = next(filter(None, (re.fullmatch(r"(\d+) (\d+)", line.strip()) for line in daemon.stdout)))
    pids = [int(pid) for pid in told.groups()]
    until(lambda: _answers(free_port), 30)
    results: list[SendResult] = []
    scanner = threading.Thread(target=lambda: send(us(free_port), sent, on_result=results.append))
    scanner.start()
    until(lambda: len(results) >= 10)
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    scanner.join(30)
    until(lambda: not any(_runs(pid) for pid in pids))
    with Listener(replace(settings, port=free_port)):
        stored = {data_set(result.path) for result in results if result.accepted}
        assert len(stored) >= 10
        assert stored <= set(map(data_set, spool.incoming()))


def _answers(port: int) -> bool:
    try:
        echo(us(port))
    except (PeerUnreachable, PeerRefused):
        return False
    return True


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_that_keeps_dying_is_started_again_ever_more_slowly(settings: ListenerSettings) -> None:
    with Listener(settings) as listener:
        seen = set(listener.pids)
        for _ in range(2):
            os.kill(listener.pids[0], signal.SIGKILL)
            until(lambda seen=seen: not set(listener.pids) & seen, 30)
            seen = seen | set(listener.pids)
        until(lambda: _answers(listener.port), 30)
    assert len(seen) == 3


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
    assert listener.connection_counts == (0,)
    assert not listener.state.watched
    with pytest.raises(PeerUnreachable):
        echo(us(listener.port))


def test_the_port_is_taken(settings: ListenerSettings, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    from dicomio.network.listener import supervisor as module

    monkeypatch.setattr(module, "BIND_PATIENCE", 0.0)
    again = Listener(ListenerSettings(spool=settings.spool, host="127.0.0.1", port=listener.port))
    with pytest.raises(module.ListenerFailed, match="in use"):
        again.start()


def test_parallel_associations_are_shared_out(settings: ListenerSettings, tmp_path: Path) -> None:
    with Listener(ListenerSettings(spool=settings.spool, host="127.0.0.1", port=0, processes=2)) as listener:
        scanners = [pynetdicom_association(listener.port) for _ in range(6)]
        assert all(scanner.send_c_store(ct_image()).Status == 0 for scanner in scanners)
        assert listener.connection_counts == (3, 3)
        for scanner in scanners:
            scanner.release()
        until(lambda: listener.connection_counts == (0, 0))
