"""The threads that do the daemon's work: starts them, tells their status, restarts those that end, stops them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog

from daemon.loop import Loop
from daemon.workers.status import PartStatus

log = structlog.get_logger(__name__)

STEPS_END = 12.0
"""Seconds that all steps that run have, at the end, together."""


class Supervisor:
    """Looks after the loops of the service."""

    def __init__(self) -> None:
        self._loops: list[Loop] = []
        self._deadline = 0.0

    def start(
        self, name: str, step: Callable[[], bool], *, interval: float, notice: Callable[[], str] = lambda: ""
    ) -> Loop:
        """Starts a loop; arguments as of `Loop`."""
        loop = Loop(name, step, interval=interval, notice=notice)
        loop.__enter__()
        self._loops.append(loop)
        return loop

    def add(self, loops: Iterable[Loop]) -> None:
        """Looks after loops, too, that somebody else has started."""
        self._loops.extend(loops)

    @property
    def status(self) -> tuple[PartStatus, ...]:
        """What each loop is doing."""
        return tuple(loop.status for loop in self._loops)

    def restart_ended(self) -> None:
        """Starts every loop again whose thread has ended without having been told to."""
        for loop in list(self._loops):
            try:
                loop.restart_if_ended()
            except RuntimeError as error:  # the machine has no thread to give; it is tried again
                log.error("thread_not_started", loop=loop.name, reason=str(error))

    def request_stop(self) -> None:
        """Tells every loop to end after the step that runs, and does not wait for that."""
        self._deadline = time.monotonic() + STEPS_END
        for loop in self._loops:
            loop.request_stop()

    def stop(self, loop: Loop) -> None:
        """Waits for a loop to end, for what is left of the time that all have together."""
        loop.stop(max(0.5, self._deadline - time.monotonic()))
