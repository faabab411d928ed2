from __future__ import annotations

import threading
import time

from daemon.loop import Loop


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
