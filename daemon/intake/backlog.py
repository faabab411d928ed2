"""What waits in the spool's incoming folder: listed once for all that lies there, and again when that is done.

To list and sort the folder for each batch would cost, over a backlog, the square of its length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicomio.files.spool.spool import Spool

NEVER = datetime.fromtimestamp(0, UTC)


class Backlog:
    """The files of incoming/, oldest first, and the records of associations that ended before they were listed."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._waiting: deque[Path] = deque()
        self._ended: deque[Path] = deque()
        self._left: set[str] = set()
        self._listed_at = NEVER
        self.done_until = NEVER

    def refill(self) -> None:
        """Lists the folder, if all that was listed before is done."""
        if self._waiting or self._ended:
            return
        self._listed_at = datetime.now(UTC)
        self._ended.extend(self._spool.associations())  # first: every image of these associations is in `_waiting`
        self._waiting.extend(path for path in self._spool.incoming() if path.name not in self._left)

    def next(self, number: int) -> list[Path]:
        """The oldest files; they stay until `drop` is called for each in turn."""
        return [self._waiting[index] for index in range(min(number, len(self._waiting)))]

    def drop(self, path: Path) -> None:
        """Says that the oldest file has been read."""
        if self._waiting and self._waiting[0] == path:
            self._waiting.popleft()

    def leave(self, path: Path) -> None:
        """Says that a file stays where it is, and is not to be looked at again by this process."""
        self._left.add(path.name)

    def ended(self) -> Iterator[Path]:
        """The records of associations whose images are all done; each is dropped when the next is asked for."""
        while self._ended and not self._waiting:
            yield self._ended[0]
            self._ended.popleft()

    def finish(self) -> bool:
        """Says that what was read has its row; True if there is more to do at once."""
        if self._waiting:
            self.done_until = _modified(self._waiting[0], self.done_until)
            return True
        self.done_until = self._listed_at
        return False


def _modified(path: Path, otherwise: datetime) -> datetime:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return otherwise
