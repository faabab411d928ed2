"""Faults that a person has to mend, said once for as long as they last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


class Complaints:
    """What was complained of in a watched folder.

    Args:
        folder: The folder, named in each line of the log; of files in it only the base name is.
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
        name = {} if path == self._folder else {"file": path.name}
        log.error(what, folder=str(self._folder), reason=reason, **name)

    def end(self, what: str, path: Path) -> None:
        """The fault is over; says so if it was complained of."""
        if (what, path) in self._open:
            self._open.remove((what, path))
            log.info(f"{what}_no_more", folder=str(self._folder))

    def drop(self, which: Callable[[Path], bool]) -> None:
        """Forget the faults with these files and folders; should they come again, it is said again."""
        self._open = {(what, path) for what, path in self._open if not which(path)}
