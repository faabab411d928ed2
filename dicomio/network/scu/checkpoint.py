"""Pauses an association's reactor while a message of ours is under way, without pynetdicom's race."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynetdicom.association import Association


class Checkpoint(threading.Event):
    """As pynetdicom's own event there, without its race.

    A sender clears the event and goes on once the reactor says that it is paused. A reactor that an
    earlier `set` has woken, and that a busy machine has not let run since, still says so: it then runs after all, takes
    the peer's answer for a request and drops it, and the sender waits for it until its timeout. Here the reactor
    is not paused any more from the moment on in which it may go on.
    """

    def __init__(self, assoc: Association) -> None:
        super().__init__()
        self._assoc = assoc
        self._open = threading.Condition()

    def set(self) -> None:
        """Let the reactor go on."""
        with self._open:
            super().set()
            self._open.notify_all()

    def clear(self) -> None:
        """Stop it where it waits next, or waits now."""
        with self._open:
            super().clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Called by the reactor."""
        with self._open:
            passed = self._open.wait_for(self.is_set, timeout)
            if passed:
                self._assoc._is_paused = False
            return passed
