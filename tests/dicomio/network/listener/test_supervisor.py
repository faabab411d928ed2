"""The listener as the daemon sees it: what it lacks is known, and processes are replaced whatever happens."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import pytest

from dicomio.errors import PeerRefused, PeerUnreachable
from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import Listener, ListenerSettings
from dicomio.network.scu.sender import echo
from tests.dicomio.support.peers import until
from tests.dicomio.support.wire import HERE, p_data, request, store_command, us, wire


@pytest.fixture
def settings(tmp_path: Path) -> ListenerSettings:
    return ListenerSettings(spool=tmp_path / "spool", host=HERE, port=0, processes=1, grace=1.0)


@pytest.fixture
def spool(settings: ListenerSettings) -> Spool:
    return Spool(settings.spool)


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


def test_a_record_waits_until_there_is_room(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener:
        spool.associations_folder.rename(spool.root / "gone")
        with wire(listener.port, request()) as peer:
            peer.send(p_data(store_command(), (1, 2, b"an image")))
            assert peer.status() == 0
        until(lambda: listener.loads == (0,))
        (spool.root / "gone").rename(spool.associations_folder)
    (record,) = spool.associations()
    assert len(json.loads(record.read_text())["files"]) == 1


def test_an_empty_object_is_refused_and_is_the_peers_fault(settings: ListenerSettings, spool: Spool) -> None:
    with Listener(settings) as listener:
        with wire(listener.port, request()) as peer:
            peer.send(p_data(store_command(), (1, 2, b"")))
            assert peer.status() == 0xC000
        until(spool.associations)
        assert listener.state.processes[0].trouble == ""
    assert spool.incoming() == []


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
