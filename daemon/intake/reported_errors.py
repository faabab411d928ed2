"""Faults that a person has to mend, said once for as long as they last."""

from __future__ import annotations

import hashlib
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_FRAMES = 4


def alias(path: Path, folder: Path) -> str:
    """A file of a folder as the log may call it, always the same: its own name, and those above it, may be a patient's.

    `printf %s PATH | sha256sum` begins with it, PATH as seen from the folder.
    """
    return hashlib.sha256(os.fsencode(path.relative_to(folder))).hexdigest()[:12]


def where(error: BaseException) -> str:
    """Where it was raised; its text, and the whole of a traceback, may hold what a file says."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return " < ".join(f"{Path(frame.filename).stem}.{frame.name}:{frame.lineno}" for frame in reversed(frames))


class Complaints:
    """What was complained of in a watched folder.

    Args:
        folder: The folder, named in each line of the log; files and folders in it have an alias there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: set[tuple[str, Path]] = set()

    def say(self, what: str, path: Path, error: Exception) -> None:
        """Log a fault with a file or folder, unless it was."""
        if (what, path) in self._open:
            return
        self._open.add((what, path))
        reason = error.strerror if isinstance(error, OSError) else str(error)  # the text of an OSError has the path
        about = {} if path == self._folder else {"file": alias(path, self._folder)}
        log.error(what, folder=str(self._folder), reason=reason, **about)

    def end(self, what: str, path: Path) -> None:
        """The fault is over; says so if it was complained of."""
        if (what, path) in self._open:
            self._open.remove((what, path))
            log.info(f"{what}_no_more", folder=str(self._folder))

    def drop(self, which: Callable[[Path], bool]) -> None:
        """Forget the faults with these files and folders; should they come again, it is said again."""
        self._open = {(what, path) for what, path in self._open if not which(path)}
