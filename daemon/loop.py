"""A thread that repeats one step, and goes on when a step fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

import structlog

from daemon.workers.status import PartState, PartStatus
from dicomio.network.backoff import Backoff

log = structlog.get_logger(__name__)

LONGEST_PAUSE = 30.0
"""Seconds between two tries of a step that keeps failing (disk full, database not available)."""

LONG = 60.0
"""Seconds after which a step is reported as busy: it may be a large delivery, or hang."""

_OURS = ("daemon", "db", "dicomio", "engines", "pipelines")


class Loop:
    """Runs `step` until stopped; waits `interval` seconds after a step that found nothing to do.

    Args:
        name: Names the thread and its log lines.
        step: Returns True when it did something and wants to run again at once.
        interval: Seconds to wait otherwise; `wake()` ends the wait early.
        notice: What a person should know of it though nothing fails; '' for nothing.
    """

    def __init__(
        self, name: str, step: Callable[[], bool], *, interval: float, notice: Callable[[], str] = lambda: ""
    ) -> None:
        self.name = name
        self._step = step
        self._interval = interval
        self._notice = notice
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = self._new_thread()
        self._began: float | None = None  # the step that runs, monotonic seconds
        self._since = datetime.now(UTC)
        self._fault = ""
        self.failing_since: float | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wake(self) -> None:
        """Ends the current wait."""
        self._wake.set()

    def request_stop(self) -> None:
        """Tells it to end after the step that runs, and does not wait for that."""
        self._stop.set()
        self._wake.set()

    def stop(self, timeout: float = 30.0) -> None:
        """Lets the running step end, then the thread."""
        self.request_stop()
        if self._thread.is_alive():
            self._thread.join(timeout)
            if self._thread.is_alive():
                log.warning("step_still_running", loop=self.name, waited_s=round(timeout, 1))

    def restart_if_ended(self) -> None:
        """Starts it again if its thread has ended without having been told to."""
        if self._has_ended():
            log.error("thread_ended", loop=self.name, instead="started again")
            self._thread = self._new_thread()
            self._thread.start()

    @property
    def status(self) -> PartStatus:
        """Its state, since when, and why."""
        if self._has_ended():
            return self._part_status(PartState.ENDED, "its thread has ended")
        if self.failing_since is not None:
            return self._part_status(PartState.FAILING, self._fault)
        began = self._began
        if began is not None and (taken := time.monotonic() - began) > LONG:
            return self._part_status(PartState.BUSY, f"one step has taken {taken // 60:.0f} min so far")
        return self._part_status(PartState.WORKING, self._notice())

    def _part_status(self, state: PartState, reason: str) -> PartStatus:
        return PartStatus(name=self.name, state=state, since=self._since, reason=reason)

    def _has_ended(self) -> bool:
        return self._thread.ident is not None and not self._thread.is_alive() and not self._stop.is_set()

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name=self.name, daemon=True)

    def _run(self) -> None:
        backoff = Backoff(max(1.0, 2 * self._interval), LONGEST_PAUSE)
        while not self._stop.is_set():
            self._began = time.monotonic()
            try:
                again = self._step()
            except Exception as error:  # a loop that dies would stop the daemon's work silently
                pause = backoff.failed()
                with suppress(Exception):  # the log's disk is full, say
                    self._failed(error, pause)
                again = False
            else:
                with suppress(Exception):
                    self._worked()
                backoff.succeeded()
                pause = self._interval
            self._began = None
            if not again:
                self._wake.wait(pause)
                self._wake.clear()

    def _failed(self, error: Exception, pause: float) -> None:
        if self.failing_since is None:
            self.failing_since, self._since = time.time(), datetime.now(UTC)
        self._fault = reason_of(error)
        log.exception("step_failed", loop=self.name, error=type(error).__name__, next_try_s=pause)

    def _worked(self) -> None:
        if self.failing_since is not None:
            self.failing_since, self._since, self._fault = None, datetime.now(UTC), ""
            log.info("step_recovered", loop=self.name)


def reason_of(error: Exception) -> str:
    """An error for people who look at the daemon: ours say what is wrong; of others only what names no patient."""
    if type(error).__module__.split(".")[0] in _OURS:
        return str(error)
    words = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
