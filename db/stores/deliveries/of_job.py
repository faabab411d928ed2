"""What happens to the deliveries of a job together: cancelled, tried again, sent again, taken up after a restart."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ColumnElement, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.moves import move
from db.states import DeliveryState
from db.stores.deliveries.job_state import SERVING
from db.tables import Delivery, Job


def cancel_undelivered(
    session: Session, job: Job, because: str, at: dt.datetime, *, destination: str | None = None
) -> None:
    """Cancels what has not been sent, to one destination or to all.

    What is being sent right now ends as it ends: the answer of the peer counts.
    """
    waiting = (DeliveryState.PENDING, DeliveryState.FAILED)
    query = select(Delivery).where(Delivery.job_id == job.id, Delivery.state.in_(waiting)).order_by(Delivery.id)
    if destination is not None:
        query = query.where(Delivery.destination == destination)
    for delivery in session.scalars(query).all():
        move(session, delivery, DeliveryState.CANCELLED, because=because, at=at)


def resume_deliveries(session: Session, job: Job, why: str, at: dt.datetime) -> None:
    """What a destination has refused is sent again, from the first try on; what was accepted is not."""
    query = select(Delivery).where(Delivery.job_id == job.id, Delivery.state == DeliveryState.FAILED)
    for delivery in session.scalars(query.order_by(Delivery.id)).all():
        values = {"next_attempt_at": at, "attempts": 0}
        move(session, delivery, DeliveryState.PENDING, because=why, at=at, values=values)


def resend_deliveries(session: Session, job: Job, destination: str | None, why: str, at: dt.datetime) -> int:
    """What was accepted is sent once more, to one destination or to all; returns how many results that are."""
    query = select(Delivery).where(Delivery.job_id == job.id, Delivery.state == DeliveryState.ACCEPTED)
    if destination is not None:
        query = query.where(Delivery.destination == destination)
    deliveries = session.scalars(query.order_by(Delivery.id)).all()
    for delivery in deliveries:
        values = {"next_attempt_at": at, "attempts": 0, "accepted_at": None}
        move(session, delivery, DeliveryState.PENDING, because=why, at=at, values=values)
    return len(deliveries)


def recover_deliveries(session: Session, worker: str | None, why: str, at: dt.datetime) -> tuple[int, ...]:
    """What a daemon was sending when it died is sent again: nobody wrote down whether it was accepted."""
    mine = or_(Delivery.worker.is_(None), of_host(Delivery.worker, worker))
    query = select(Delivery, Job).join(Job, Job.id == Delivery.job_id)
    query = query.where(Delivery.state == DeliveryState.SENDING, mine).order_by(Delivery.id)
    pairs = session.execute(query.with_for_update(key_share=True, of=[Delivery, Job])).all()
    for delivery, job in pairs:
        wanted = job.state in SERVING
        to = DeliveryState.PENDING if wanted else DeliveryState.CANCELLED
        move(session, delivery, to, because=why, at=at, values={"next_attempt_at": at, "worker": None})
    return tuple(delivery.id for delivery, _ in pairs)


def of_host(column: InstrumentedAttribute[str | None], worker: str | None) -> ColumnElement[bool]:
    """Whether the daemon that a row names runs on the same host as this one; of any host if None."""
    if worker is None:
        return true()
    host = worker.partition(":")[0]
    return or_(column == host, column.startswith(f"{host}:", autoescape=True))
