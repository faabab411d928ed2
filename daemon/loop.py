"""A thread that does one step again and again, and that no fault of a step can end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

import structlog

log = structlog.get_logger(__name__)

LONGEST_PAUSE = 30.0
"""Seconds between two tries of a step that keeps failing (disk full, database away)."""


class Loop:
    """Runs `step` until stopped; waits `interval` seconds after a step that found nothing to do.

    Args:
        name: Names the thread and its log lines.
        step: Returns True when it did something and wants to run again at once.
        interval: Seconds to wait otherwise; `wake()` ends the wait early.
    """

    def __init__(self, name: str, step: Callable[[], bool], *, interval: float) -> None:
        self.name = name
        self._step = step
        self._interval = interval
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.failing_since: float | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wake(self) -> None:
        """Ends the current wait."""
        self._wake.set()

    def stop(self, timeout: float = 30.0) -> None:
        """Lets the running step end, then the thread."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        pause = self._interval
        while not self._stop.is_set():
            try:
                again = self._step()
            except (
                Exception
            ) as error:  # a loop that dies would stop the daemon's work silently; it is logged and retried
                self.failing_since = self.failing_since or time.time()
                pause = min(max(1.0, pause * 2), LONGEST_PAUSE)
                log.exception("step_failed", loop=self.name, error=type(error).__name__, next_try_s=pause)
                again = False
            else:
                if self.failing_since is not None:
                    log.info("step_works_again", loop=self.name)
                self.failing_since, pause = None, self._interval
            if not again:
                self._wake.wait(pause)
                self._wake.clear()
