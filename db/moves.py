"""The only code that changes a state."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, select, update
from sqlalchemy.orm import Session

from db.columns import now
from db.errors import IllegalMove
from db.records import EventRow
from db.records.mapping import record
from db.states import State, may_move
from db.tables import Delivery, Job, JobEvent, Study
from db.tags import plain

Stateful = Study | Job | Delivery


def move(
    session: Session,
    row: Stateful,
    to: State,
    *,
    because: str,
    at: dt.datetime | None = None,
    values: Mapping[str, Any] | None = None,
    **detail: Any,
) -> None:
    """Moves a study, a job or a delivery to another state, and writes the event, in the caller's transaction.

    The row is changed only if it still is in the state that we saw: of two that want to move it one wins, and the other
    is told. That holds between processes and machines, and needs no lock.

    Args:
        session: The transaction.
        row: What moves.
        to: Where to.
        because: Why, in a word or a sentence, for whoever reads the history.
        at: When; now if not given.
        values: Other columns to set with it.
        detail: For the event: plain values.

    Raises:
        IllegalMove: The table has no such move, or the row is in another state by now.
    """
    old, at = row.state, at or now()
    if not may_move(old, to):
        raise _illegal(session, row, to)
    kind = type(row)
    change = update(kind).where(kind.id == row.id, kind.state == old)
    changed = session.execute(change.values(state=to, updated_at=at, **(values or {})))
    if cast("CursorResult[Any]", changed).rowcount != 1:
        session.refresh(row)
        raise _illegal(session, row, to)
    note(session, row, f"{old} -> {to}", because=because, at=at, **detail)


def note(session: Session, row: Stateful, event: str, *, because: str, at: dt.datetime, **detail: Any) -> None:
    """Writes an event about a row: its birth ("-> queued"), or something worth knowing that is no move."""
    session.add(JobEvent(at=at, event=event, because=because, detail=plain(detail), **_about(session, row)))


def _about(session: Session, row: Stateful) -> dict[str, int | None]:
    match row:
        case Study():
            return {"study_id": row.id}
        case Job():
            return {"study_id": row.study_id, "job_id": row.id}
        case Delivery():
            study_id = session.scalar(select(Job.study_id).where(Job.id == row.job_id))
            return {"study_id": study_id, "job_id": row.job_id, "delivery_id": row.id}


def history(session: Session, row: Stateful) -> tuple[EventRow, ...]:
    """What happened to a study (not to its jobs), a job (not to its deliveries) or a delivery, oldest first."""
    match row:
        case Study():
            about = (JobEvent.study_id == row.id, JobEvent.job_id.is_(None))
        case Job():
            about = (JobEvent.job_id == row.id, JobEvent.delivery_id.is_(None))
        case Delivery():
            about = (JobEvent.delivery_id == row.id, JobEvent.job_id.is_not(None))
    return events(session, *about)


def events(session: Session, *about: ColumnElement[bool]) -> tuple[EventRow, ...]:
    """What happened, oldest first."""
    found = session.scalars(select(JobEvent).where(*about).order_by(JobEvent.id))
    return tuple(record(EventRow, event) for event in found)


def _illegal(session: Session, row: Stateful, to: State) -> IllegalMove:
    name = row.study_instance_uid if isinstance(row, Study) else str(row.id)
    return IllegalMove(
        kind=type(row).__name__.lower(),
        name=name,
        current=row.state.value,
        to=to.value,
        history=history(session, row),
    )
