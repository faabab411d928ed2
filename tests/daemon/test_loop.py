from __future__ import annotations

import threading
import time

import pytest

from daemon.errors import NotRunnable
from daemon.loop import Loop
from daemon.workers.status import PartState
from tests.daemon.support.waiting import until


def test_a_step_that_fails_is_tried_again_and_ends_nothing() -> None:
    calls: list[float] = []
    recovered = threading.Event()

    def step() -> bool:
        calls.append(time.monotonic())
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        recovered.set()
        return False

    with Loop("test", step, interval=0.01) as loop:
        assert recovered.wait(5)
        assert loop.failing_since is None or len(calls) >= 2
    assert calls[1] - calls[0] >= 0.9  # it backed off


def test_wake_ends_the_wait() -> None:
    ran = threading.Semaphore(0)

    def step() -> bool:
        ran.release()
        return False

    with Loop("test", step, interval=60) as loop:
        assert ran.acquire(timeout=5)
        loop.wake()
        assert ran.acquire(timeout=5)


def test_it_goes_on_at_once_while_there_is_work() -> None:
    left = [3]

    def step() -> bool:
        left[0] -= 1
        return left[0] > 0

    with Loop("test", step, interval=60):
        deadline = time.monotonic() + 5
        while left[0] > 0 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert left[0] == 0


def test_how_it_stands_is_told_with_the_reason() -> None:
    faults: list[Exception] = [
        OSError(28, "No space left on device"),
        NotRunnable(reason="the port is taken"),
        KeyError("Doe"),
    ]
    told = ["OSError: No space left on device", "the port is taken", "KeyError"]

    def step() -> bool:
        if faults:
            raise faults[0]
        return False

    with Loop("intake", step, interval=0.01, notice=lambda: "a notice") as loop:
        for reason in told:
            until(lambda reason=reason: loop.status.reason == reason)  # type: ignore[misc]
            assert loop.status.state is PartState.FAILING
            faults.pop(0)
            loop.wake()
        until(lambda: loop.status.state is PartState.WORKING)
        assert loop.status.reason == "a notice"


def test_a_step_that_takes_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.loop.LONG", 0.05)
    go = threading.Event()
    with Loop("deliver-pacs", lambda: go.wait(10) and False, interval=60) as loop:
        until(lambda: loop.status.state is PartState.BUSY)
        assert "one step has taken" in loop.status.reason
        go.set()
        until(lambda: loop.status.state is PartState.WORKING)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_all_the_same_is_seen_and_started_again() -> None:
    ran = []

    def step() -> bool:
        ran.append(1)
        if len(ran) == 1:
            raise SystemExit
        return False

    with Loop("dispatch", step, interval=60) as loop:
        until(lambda: loop.status.state is PartState.ENDED)
        loop.restart_if_ended()
        until(lambda: len(ran) == 2)
        assert loop.status.state is PartState.WORKING


def test_a_log_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("daemon.loop.log.exception", full, raising=False)
    calls = []

    def step() -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError
        return False

    with Loop("test", step, interval=0.01):
        until(lambda: len(calls) > 1)
