"""How far the deliveries to each destination are."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.records import DestinationRow
from db.states import OUTSTANDING, DeliveryState
from db.tables import Delivery


def destinations(session: Session) -> list[DestinationRow]:
    """Where results go, and how far they are."""
    waiting = Delivery.state.in_((DeliveryState.PENDING, DeliveryState.SENDING))
    query = select(
        Delivery.destination,
        func.count().filter(waiting),
        func.count().filter(Delivery.state == DeliveryState.FAILED),
        func.max(Delivery.accepted_at),
    )
    rows = session.execute(query.group_by(Delivery.destination).order_by(Delivery.destination)).all()
    return [_destination(session, *row) for row in rows]


def _destination(
    session: Session, name: str, waiting: int, failed: int, accepted: dt.datetime | None
) -> DestinationRow:
    query = select(Delivery).where(Delivery.destination == name, Delivery.state.in_(OUTSTANDING))
    newest = (Delivery.updated_at.desc(), Delivery.id.desc())
    last = session.scalar(query.where(Delivery.last_error.is_not(None)).order_by(*newest).limit(1))
    return DestinationRow(
        name=name,
        waiting=waiting,
        failed=failed,
        last_accepted_at=accepted,
        last_error=(last.last_error if last else "") or "",
        reason_code=last.reason_code if last else None,
    )
