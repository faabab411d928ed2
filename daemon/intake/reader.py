"""From the spool to the database: read each header once, give the file its name in its study's folder, insert its row.

A file keeps its name in incoming/ until its row is there, so incoming/ is the journal of this work. Whatever a crash
interrupts is done again from there: the second name is the one that it has already, the row is known, and only then the
first name goes. So nothing under studies/ is without a row, nobody has to look there at start, and the receipt (by
which association a file came) is read from the first name every time.
"""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from daemon.intake.associations import record_association
from daemon.intake.backlog import NEVER, Backlog
from daemon.intake.losses import record_losses
from daemon.intake.unindexed import Unindexed
from db.faults import may_be_of_a_row
from db.records import Indexed, IndexedInstance
from db.records.mapping import record
from db.states import Origin
from dicomio.errors import BadInput, UnreadableFile
from dicomio.files.comparison import is_same_image
from dicomio.files.digest import content_digest
from dicomio.files.headers import Header, read_header
from dicomio.files.spool.durable import add_name, make_folder, remove_copies, sync_folder
from dicomio.files.spool.free_space import OUT_OF_SPACE
from dicomio.files.spool.writer import safe_name

if TYPE_CHECKING:
    from db.database import Database
    from db.records import IndexOutcome
    from dicomio.files.spool.spool import Spool

log = structlog.get_logger(__name__)

BATCH = 256
"""Files indexed in one transaction: large enough to be fast, small enough that a study appears while it arrives."""

# Names as dicomio/network/scp/association.py gives them; the watcher's receipts have "_" before the number.
_RECEIPT = re.compile(r"\.(?P<association>[0-9a-f]{16})-\d+\.dcm$")
_OF_THE_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, *OUT_OF_SPACE})
"""Faults that no single file is to blame for: they pass, and the files wait for that."""


@dataclass(frozen=True)
class _Arrival:
    """A file of incoming/ whose header was read."""

    path: Path
    header: Header
    digest: str
    received_at: datetime
    association_id: str | None


class SpoolReader:
    """Indexes what lies in the spool's incoming folder; `step` takes one batch.

    Args:
        spool: The spool.
        database: Where the rows go.
    """

    def __init__(self, spool: Spool, database: Database) -> None:
        self._spool = spool
        self._database = database
        self._backlog = Backlog(spool)
        self._unindexed = Unindexed(spool, database)
        self._grown = True
        self._placed: list[tuple[_Arrival, Path]] = []  # in their folder, and without a row so far

    @property
    def indexed_until(self) -> datetime:
        """What came before this moment has its row: whoever asks what is complete must ask as of then, not as of now.

        It is long ago before the first step, and stays behind while there is a backlog.
        """
        return self._backlog.done_until if self._unindexed.is_done else NEVER

    def step(self) -> bool:
        """Indexes up to one batch; True when there is more to do at once."""
        self._insert_placed()  # what an earlier step could not
        self._backlog.refill()
        for path in self._backlog.next(BATCH):
            if (arrival := self._read(path)) is not None:
                self._placed.append((arrival, self._place(arrival)))
            self._backlog.drop(path)
        self._insert_placed()
        for path in self._backlog.ended():
            record_association(path, self._spool, self._database)
        record_losses(self._spool, self._database)
        if self._backlog.finish():
            return True
        # After incoming/: what has a name there is read from there, as that name says how it came.
        if not self._unindexed.is_done:
            self._reconcile(self._unindexed.next(BATCH))
        if self._grown and self._unindexed.is_done:
            self._unindexed.note()
            self._grown = False
        return not self._unindexed.is_done

    def _insert_placed(self) -> None:
        for folder in {path.parent for _, path in self._placed}:
            sync_folder(folder)
        self._insert(self._placed)
        self._placed = []

    def reconcile(self) -> int:
        """Indexes all that lies under studies/ without a row, wherever the database stood; returns how many files."""
        self._unindexed.begin()
        count = 0
        while not self._unindexed.is_done:
            count += self._reconcile(self._unindexed.next(BATCH))
        self._unindexed.note()
        return count

    def _reconcile(self, paths: list[Path]) -> int:
        missing = self._database.studies.paths_without_row(paths) if paths else []
        arrivals = [arrival for path in missing if (arrival := self._read(path)) is not None]
        self._insert([(arrival, arrival.path) for arrival in arrivals])
        self._unindexed.drop()
        if arrivals:
            log.info("spool_reconciled", instances=len(arrivals))
        return len(arrivals)

    def _read(self, path: Path) -> _Arrival | None:
        """Reads one file; what cannot be used goes to quarantine and takes nothing else with it."""
        try:
            header = read_header(path, largest=self._spool.largest)
            return _Arrival(path, header, content_digest(path), _modified(path), _association_of(path))
        except FileNotFoundError:
            return None
        except (UnreadableFile, BadInput) as error:
            reason, kind = str(error), type(error).__name__
        except OSError as error:
            if error.errno in _OF_THE_MACHINE:
                raise
            reason, kind = f"it cannot be read: {error.strerror}", type(error).__name__
        self._quarantine(path, reason, kind)
        return None

    def _quarantine(self, path: Path, reason: str, kind: str) -> Path:
        association = _association_of(path) or ""
        kept = self._spool.quarantine(path, reason, path.name, kind=kind, association=association)
        log.warning("quarantined", file=kept.name, reason=reason, kind=kind)
        return kept

    def _place(self, arrival: _Arrival) -> Path:
        """Gives a file its name in its study's folder; one of another content that has that name already stays."""
        header = arrival.header
        folder = (
            self._spool.studies_folder / safe_name(header.study_instance_uid) / safe_name(header.series_instance_uid)
        )
        make_folder(folder)
        for name in _names(safe_name(header.sop_instance_uid), arrival.digest):
            target = folder / name
            try:
                add_name(arrival.path, target)
            except FileExistsError:
                if not _holds(target, arrival):
                    continue
            return target
        raise AssertionError("there is always another name")

    def _insert(self, placed: list[tuple[_Arrival, Path]]) -> None:
        if not placed:
            return
        self._grown = True
        try:
            outcomes = self._database.studies.index(
                [_instance(arrival, path) for arrival, path in placed], is_same_image
            )
        except Exception as error:  # one that cannot be written down must not hold up the others for ever
            if not may_be_of_a_row(error):
                raise
            self._insert_singly(placed, error)
            return
        copies: list[tuple[Path, Path]] = []
        for (arrival, path), outcome in zip(placed, outcomes, strict=True):
            copies += self._copies(arrival, path, outcome)
            if outcome.kind is Indexed.CONFLICT:
                log.warning(
                    "conflicting_instance",
                    sop_instance_uid=arrival.header.sop_instance_uid,
                    kept=path.name,
                    source_ae=arrival.header.source_ae,
                )
        for refused in remove_copies(copies):
            self._backlog.leave(refused.path)
            log.error("copy_not_removed", reason=refused.reason, kind=type(refused).__name__)

    def _copies(self, arrival: _Arrival, path: Path, outcome: IndexOutcome) -> Iterator[tuple[Path, Path]]:
        """What may go now that the row is there: the name in incoming/, and a second copy; each with what is kept."""
        kept = path
        if not outcome.keep:
            if _holds(outcome.path, arrival):
                kept = outcome.path
                yield path, kept
            else:  # the file that the row names was lost, or is not what it was: this one takes its place
                self._database.studies.relocate(outcome.path, path)
        if arrival.path != path:
            yield arrival.path, kept

    def _insert_singly(self, placed: list[tuple[_Arrival, Path]], error: Exception) -> None:
        """Finds the file that the database will not take, and puts that one into quarantine."""
        if len(placed) > 1:
            for one in placed:
                self._insert([one])
            return
        ((arrival, path),) = placed
        log.error("instance_not_indexed", sop_instance_uid=arrival.header.sop_instance_uid, kind=type(error).__name__)
        reason = f"it cannot be written to the database ({type(error).__name__})"
        with suppress(FileNotFoundError):  # it was taken away by hand
            kept = self._quarantine(arrival.path, reason, type(error).__name__)
            if path.samefile(kept):  # and not a file that was there before, and has a row
                remove_copies([(path, kept)])


def _instance(arrival: _Arrival, path: Path) -> IndexedInstance:
    """What the database records of an image: all that its header tells, and how it came."""
    return record(
        IndexedInstance,
        arrival.header,
        path=path,
        size=path.stat().st_size,
        content_digest=arrival.digest,
        received_at=arrival.received_at,
        association_id=arrival.association_id,
        origin=Origin.LISTENER if arrival.association_id else Origin.WATCHER,
    )


def _names(uid: str, digest: str) -> Iterator[str]:
    """Names for an image in its folder, the plain one first; the digest is told whole, as half of it may collide."""
    yield f"{uid}.dcm"
    yield f"{uid}.{digest}.dcm"
    yield from (f"{uid}.{digest}.{number}.dcm" for number in itertools.count(2))


def _holds(path: Path, arrival: _Arrival) -> bool:
    """Whether a file is there and holds the data set that arrived."""
    try:
        return path.samefile(arrival.path) or content_digest(path) == arrival.digest
    except OSError:
        return False


def _association_of(path: Path) -> str | None:
    match = _RECEIPT.search(path.name)
    return match["association"] if match else None


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
