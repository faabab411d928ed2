"""Waiting for space on a disk that is full: how to tell such errors, and when to try again."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from dicomio.network.backoff import Backoff

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
NEEDED = 64 << 20
"""Bytes that must be free before a job is tried again: segmentation, report and pictures of a large study."""

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0


def is_disk_full(error: BaseException) -> bool:
    """Whether a full disk caused an error, whatever it was turned into on its way."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        if isinstance(at, OSError) and at.errno in NO_SPACE:
            return True
        seen.append(at)
        at = at.__cause__ or at.__context__
    return False


class DiskSpaceWait:
    """Says when to go on after a disk was full: after a pause that grows, and not before there is space.

    Args:
        folder: On the disk that was full.
        clock: Monotonic seconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._until: float | None = None

    def begin(self) -> None:
        """The disk was full just now."""
        self._until = self._clock() + self._backoff.failed()

    def end(self) -> None:
        """Something was written: the next full disk is a new one."""
        self._backoff.succeeded()
        self._until = None

    @property
    def is_over(self) -> bool:
        """Whether to go on."""
        return self._until is None or (self._clock() >= self._until and self._has_space())

    def _has_space(self) -> bool:
        try:
            return shutil.disk_usage(self._folder).free >= NEEDED
        except OSError:  # it cannot be looked at: the next try will tell
            return True
