"""Errors with a watched folder that a person has to resolve: each is logged once for as long as it lasts."""

from __future__ import annotations

import hashlib
import os
import traceback
from collections.abc import Callable
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_FRAMES = 4


def log_name(path: Path, folder: Path) -> str:
    """The name by which the log calls a file of a folder, always the same: its own may hold a patient's.

    `printf %s PATH | sha256sum` begins with it, PATH as seen from the folder.
    """
    return hashlib.sha256(os.fsencode(path.relative_to(folder))).hexdigest()[:12]


def raised_at(error: BaseException) -> str:
    """Where an error was raised, for the log; its message and its traceback may quote the file."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return " < ".join(f"{Path(frame.filename).stem}.{frame.name}:{frame.lineno}" for frame in reversed(frames))


class ReportedErrors:
    """The errors with one watched folder that were logged and still last.

    Args:
        folder: The folder, named in each line of the log; files and folders in it appear by their `log_name`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: set[tuple[str, Path]] = set()

    def report(self, what: str, path: Path, error: Exception) -> None:
        """Log an error with a file or folder, unless it was logged already."""
        if (what, path) in self._open:
            return
        self._open.add((what, path))
        reason = error.strerror if isinstance(error, OSError) else str(error)  # the text of an OSError has the path
        about = {} if path == self._folder else {"file": log_name(path, self._folder)}
        log.error(what, folder=str(self._folder), reason=reason, **about)

    def resolve(self, what: str, path: Path) -> None:
        """The error is gone; logs that if the error was logged."""
        if (what, path) in self._open:
            self._open.remove((what, path))
            log.info(f"{what}_resolved", folder=str(self._folder))

    def forget(self, which: Callable[[Path], bool]) -> None:
        """Forget the errors with these files and folders; if they come again, they are logged again."""
        self._open = {(what, path) for what, path in self._open if not which(path)}
