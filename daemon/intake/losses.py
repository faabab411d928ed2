"""Notes of images that cannot be used, from the spool to the database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from db.errors import BadRequest
from db.records import LossRow
from db.states import LossKind

if TYPE_CHECKING:
    from db.database import Database
    from dicomio.files.spool.spool import Spool

log = structlog.get_logger(__name__)

UNREADABLE = (KeyError, TypeError, ValueError, BadRequest)
"""What a note that is none leads to."""


def record_losses(spool: Spool, database: Database) -> None:
    """Moves the notes that wait in the spool to the database."""
    for path in spool.lost():
        try:
            database.studies.record_lost([lost_image(path.stem, json.loads(path.read_text()))])
        except UNREADABLE as error:
            log.warning("lost_image_note_unreadable", file=path.name, kind=type(error).__name__)
        path.unlink()


def losses_of(record: Mapping[str, Any]) -> list[LossRow]:
    """What an association did not bring, by the record that a listener process wrote."""
    notes = record.get("lost", ())
    return [lost_image(f"{record['association_id']}-{number}", note) for number, note in enumerate(notes, start=1)]


def lost_image(receipt: str, note: Mapping[str, Any]) -> LossRow:
    """A note (`dicomio.files.spool.lost.note`) as the database wants it."""
    position = note["position"]
    return LossRow(
        receipt=receipt,
        kind=LossKind(note["kind"]),
        study_instance_uid=note["study"],
        series_instance_uid=note["series"],
        sop_instance_uid=note["sop"],
        association_id=note["association"] or None,
        source_ae=note["source_ae"],
        number=note["number"],
        position=tuple(float(part) for part in position) if position else None,
        reason=note["reason"],
        file=note["file"],
        lost_at=datetime.fromisoformat(note["time"]),
    )
