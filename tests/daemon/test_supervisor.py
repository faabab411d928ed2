from __future__ import annotations

import threading
import time

import pytest

from daemon.supervisor import Supervisor
from daemon.workers.status import PartState


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loop_whose_thread_has_ended_is_started_again() -> None:
    ran = threading.Event()

    def die_once() -> bool:
        if not ran.is_set():
            ran.set()
            raise SystemExit
        return False

    supervisor = Supervisor()
    loop = supervisor.start("test", die_once, interval=0.01)
    while loop.status.state is not PartState.ENDED:
        time.sleep(0.01)
    supervisor.restart_ended()
    assert [(part.name, part.state) for part in supervisor.status] == [("test", PartState.WORKING)]
    supervisor.request_stop()
    supervisor.stop(loop)


def test_all_are_told_before_any_is_waited_for() -> None:
    go = threading.Event()
    supervisor = Supervisor()
    loops = [supervisor.start(f"slow-{number}", lambda: go.wait(0.8) and False, interval=60) for number in range(4)]
    start = time.monotonic()
    supervisor.request_stop()
    for loop in loops:
        supervisor.stop(loop)
    assert time.monotonic() - start < 2
