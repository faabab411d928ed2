"""Files under studies/ that have no row: looked for only where there can be some.

The reader leaves none, since a file keeps its name in incoming/ until it has its row. An older version might have, in a
crash; and a database that was restored from a backup knows less than the spool holds. So the spool keeps the number of
the newest row (`spool/indexed`). A database that has come that far is not asked about each file at each start.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from db.database import Database
    from dicomio.files.spool.spool import Spool

log = structlog.get_logger(__name__)


class Unindexed:
    """The files that have to be looked at, in pieces; none, normally."""

    def __init__(self, spool: Spool, database: Database) -> None:
        self._spool = spool
        self._database = database
        self._files: Iterator[Path] | None = None
        self._piece: list[Path] = []
        self._is_last = False
        self.is_done = spool.is_empty

    def begin(self) -> None:
        """Have all files looked at."""
        self._files = self._spool.studies_folder.glob("*/*/*.dcm")
        self.is_done = False

    def next(self, number: int) -> list[Path]:
        """Some files to look at; the same again until `drop` is called."""
        if self.is_done:
            return []
        if self._files is None:
            self._files = iter(())
            if self._is_behind():
                log.info("spool_search_started", reason="the database may not know every file")
                self.begin()
        if not self._piece:
            self._piece = list(islice(self._files, number))
            self._is_last = len(self._piece) < number
        return self._piece

    def drop(self) -> None:
        """Say that these files have rows now."""
        self._piece = []
        self.is_done = self._is_last

    def note(self) -> None:
        """Keep in the spool how far the database has come."""
        if self.is_done:
            self._spool.owner.note_indexed(self._database.studies.newest_instance())

    def _is_behind(self) -> bool:
        noted = self._spool.owner.indexed()
        return noted is None or noted > self._database.studies.newest_instance()
