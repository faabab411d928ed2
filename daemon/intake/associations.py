"""Records of associations, which listener processes leave in the spool, from there to the database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from daemon.intake.losses import UNREADABLE, losses_of
from db.records import AssociationRow
from db.states import AssociationEnd

if TYPE_CHECKING:
    from pathlib import Path

    from db.database import Database
    from dicomio.files.spool.spool import Spool

log = structlog.get_logger(__name__)


def record_association(path: Path, spool: Spool, database: Database) -> None:
    """Moves one association's record, and the images that it did not bring, from the spool to the database."""
    try:
        note = json.loads(path.read_text())
        database.studies.record_association(association_row(note))
        database.studies.record_lost(losses_of(note))
    except UNREADABLE as error:
        spool.quarantine(path, f"not the record of an association: {error}", path.name)
        log.warning("association_record_unreadable", file=path.name, reason=str(error))
        return
    path.unlink()


def association_row(note: Mapping[str, Any]) -> AssociationRow:
    """The note that a listener process wrote (dicomio.files.spool.spool), as the database wants it."""
    return AssociationRow(
        association_id=note["association_id"],
        calling_ae=note["calling_ae"],
        called_ae=note["called_ae"],
        peer_host=note["peer_host"],
        opened_at=datetime.fromisoformat(note["opened_at"]),
        closed_at=datetime.fromisoformat(note["closed_at"]),
        how=AssociationEnd(note["how"]),
        files=len(note["files"]),
        refused=note["refused"],
    )
