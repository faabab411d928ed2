"""From the spool to the database: read each header once, move the file to its study's folder, insert its row.

The order is rename, then insert. A crash in between leaves a file under studies/ without a row; `reconcile` finds it at
the next start: the spool is the truth about what was received, the database can only lag behind it. While the daemon
lives, what was moved and could not be inserted (database away, disk full) is kept in mind and inserted first of all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from db.errors import BadRequest, StoreError
from db.records import AssociationRow, Indexed, IndexedInstance
from db.states import AssociationEnd, Origin
from dicomio.errors import BadInput, UnreadableFile
from dicomio.headers import Header, read_header
from dicomio.spool import FOLDER_MODE, OUT_OF_SPACE, harmless, sync_folder

if TYPE_CHECKING:
    from db.store import Database
    from dicomio.spool import Spool

log = structlog.get_logger(__name__)

BATCH = 256
"""Files indexed in one transaction: large enough to be fast, small enough that a study appears while it arrives."""

# The names that dicomio/reception.py gives; the spool's own receipts, of the watcher, have "_" before the number.
_RECEIPT = re.compile(r"\.(?P<association>[0-9a-f]{16})-\d+\.dcm$")
_CHUNK = 1 << 20
_OF_THE_MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, *OUT_OF_SPACE})
"""Faults that no single file is to blame for: they pass, and the files wait for that."""

_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class _Arrival:
    """A file of incoming/ whose header was read."""

    path: Path
    header: Header
    digest: str
    received_at: datetime
    association_id: str | None


class Intake:
    """Indexes what lies in the spool's incoming folder; `step` takes one batch.

    Args:
        spool: The spool.
        database: Where the rows go.
    """

    def __init__(self, spool: Spool, database: Database) -> None:
        self._spool = spool
        self._database = database
        self._placed: list[tuple[_Arrival, Path]] = []  # moved to their folder, and without a row so far
        self._reconciled = False
        self._indexed_until = _NEVER

    @property
    def indexed_until(self) -> datetime:
        """What came before this moment has its row: whoever asks what is complete must ask as of then, not as of now.

        It is long ago until `reconcile` has run, and stays behind while there is a backlog.
        """
        return self._indexed_until if self._reconciled else _NEVER

    def step(self) -> bool:
        """Indexes up to one batch; True when there is more to do at once."""
        self._insert_placed()  # what an earlier step could not
        started = datetime.now(UTC)
        ended = self._spool.associations()  # listed first: every image of an association that ended now is in `waiting`
        waiting = self._spool.incoming()
        batch = waiting[:BATCH]
        for path in batch:
            if (arrival := self._read(path)) is not None:
                self._placed.append((arrival, self._place(arrival)))
        self._insert_placed()
        if len(waiting) > len(batch):
            with suppress(FileNotFoundError):
                self._indexed_until = _modified(waiting[len(batch)])  # the oldest one that is left
            return True
        for path in ended:
            self._record_association(path)
        self._indexed_until = started
        return False

    def _insert_placed(self) -> None:
        for folder in {path.parent for _, path in self._placed}:
            sync_folder(folder)
        self._insert(self._placed)
        self._placed = []

    def _record_association(self, path: Path) -> None:
        """Moves one association's record from the spool to the database."""
        try:
            self._database.record_association(association_row(json.loads(path.read_text())))
        except (KeyError, TypeError, ValueError, BadRequest) as error:
            self._spool.quarantine(path, f"not the record of an association: {error}", path.name)
            log.warning("association_record_unreadable", file=path.name, reason=str(error))
            return
        path.unlink()

    def reconcile(self) -> int:
        """Indexes what lies under studies/ without a row (a crash came between rename and insert); returns how many."""
        count = 0
        for chunk in _chunks(sorted(self._spool.studies_folder.glob("*/*/*.dcm"))):
            missing = self._database.paths_without_row(chunk)
            arrivals = [arrival for path in missing if (arrival := self._read(path)) is not None]
            self._insert([(arrival, arrival.path) for arrival in arrivals])
            count += len(arrivals)
        self._reconciled = True
        if count:
            log.info("spool_reconciled", instances=count)
        return count

    def _read(self, path: Path) -> _Arrival | None:
        """Reads one file; what cannot be used goes to quarantine and takes nothing else with it."""
        try:
            header = read_header(path)
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

    def _quarantine(self, path: Path, reason: str, kind: str) -> None:
        kept = self._spool.quarantine(path, reason, path.name)
        log.warning("quarantined", file=kept.name, reason=reason, kind=kind)

    def _place(self, arrival: _Arrival) -> Path:
        """Moves a file to its study's folder; another file of the same UID there stays, this one gets a longer name."""
        header = arrival.header
        folder = self._spool.studies_folder / harmless(header.study_instance_uid) / harmless(header.series_instance_uid)
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        name = harmless(header.sop_instance_uid)
        target = folder / f"{name}.dcm"
        if target.exists() and target != arrival.path:
            target = folder / f"{name}.{arrival.digest[:8]}.dcm"
            if content_digest(folder / f"{name}.dcm") == arrival.digest:
                target = folder / f"{name}.dcm"
        os.rename(arrival.path, target)  # over a file of equal content: one copy stays
        return target

    def _insert(self, placed: list[tuple[_Arrival, Path]]) -> None:
        if not placed:
            return
        try:
            outcomes = self._database.index_instances([_row(arrival, path) for arrival, path in placed])
        except StoreError:  # the database is away: nobody's fault here
            raise
        except Exception as error:  # one that cannot be written down must not hold up the others for ever
            self._insert_singly(placed, error)
            return
        for (arrival, path), outcome in zip(placed, outcomes, strict=True):
            if not outcome.keep:  # a second copy that lay under another name; the first one stays
                path.unlink(missing_ok=True)
            if outcome.kind is Indexed.CONFLICT:
                log.warning(
                    "conflicting_instance",
                    sop_instance_uid=arrival.header.sop_instance_uid,
                    kept=path.name,
                    source_ae=arrival.header.source_ae,
                )

    def _insert_singly(self, placed: list[tuple[_Arrival, Path]], error: Exception) -> None:
        """Finds the file that the database will not take, and puts that one into quarantine."""
        if len(placed) > 1:
            for one in placed:
                self._insert([one])
            return
        ((arrival, path),) = placed
        log.error("not_indexable", sop_instance_uid=arrival.header.sop_instance_uid, kind=type(error).__name__)
        if path.exists():  # else it was taken away by hand
            reason = f"it cannot be written to the database ({type(error).__name__})"
            self._quarantine(path, reason, type(error).__name__)


def content_digest(path: Path) -> str:
    """SHA-256 of the data set, without preamble and file meta: these name the sender, and differ for the same image."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        stream.seek(data_set_offset(stream.read(144)))
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def data_set_offset(head: bytes) -> int:
    """Where the data set begins, by File Meta Information Group Length (PS3.10, 7.1); 0 for a file without it."""
    if len(head) < 144 or head[128:132] != b"DICM" or head[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        return 0
    return 144 + int.from_bytes(head[140:144], "little")


def association_row(record: Mapping[str, Any]) -> AssociationRow:
    """The record that a listener process wrote (dicomio.spool), as the database wants it."""
    return AssociationRow(
        association_id=record["association_id"],
        calling_ae=record["calling_ae"],
        called_ae=record["called_ae"],
        peer_host=record["peer_host"],
        opened_at=datetime.fromisoformat(record["opened_at"]),
        closed_at=datetime.fromisoformat(record["closed_at"]),
        how=AssociationEnd(record["how"]),
        files=len(record["files"]),
        refused=record["refused"],
    )


def _row(arrival: _Arrival, path: Path) -> IndexedInstance:
    header = arrival.header
    return IndexedInstance(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        modality=header.modality,
        patient_id=header.patient_id,
        accession_number=header.accession_number,
        study_date=header.study_date,
        frames=header.frames,
        has_pixels=header.has_pixels,
        rows=header.rows,
        columns=header.columns,
        tags=header.tags,
        instance_tags=header.instance_tags,
        path=path,
        size=path.stat().st_size,
        content_digest=arrival.digest,
        received_at=arrival.received_at,
        source_ae=header.source_ae,
        association_id=arrival.association_id,
        origin=Origin.LISTENER if arrival.association_id else Origin.WATCHER,
    )


def _association_of(path: Path) -> str | None:
    match = _RECEIPT.search(path.name)
    return match["association"] if match else None


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _chunks(paths: Iterable[Path]) -> Iterator[list[Path]]:
    chunk: list[Path] = []
    for path in paths:
        chunk.append(path)
        if len(chunk) == BATCH:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
