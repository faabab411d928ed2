"""What its deliveries make of a job: done, failed, or delivering again."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from db.moves import move
from db.reasons import NOT_DELIVERED
from db.states import OUTSTANDING, DeliveryState, JobState
from db.tables import Delivery, Job

# Where one destination has refused for good the job has failed, but the others still get what they are to get.
SERVING = (JobState.DELIVERING, JobState.FAILED)
_NO_REASON: dict[str, Any] = {"reason": None, "reason_code": None}


def outstanding(session: Session, job: Job) -> frozenset[DeliveryState]:
    """The states of a job's deliveries that have neither been accepted nor given up."""
    query = select(Delivery.state).where(Delivery.job_id == job.id, Delivery.state.in_(OUTSTANDING)).distinct()
    return frozenset(session.scalars(query))


def settle_job(session: Session, job: Job, because: str, at: dt.datetime) -> None:
    """After some deliveries were given up: the job that was delivering, or had failed of them, goes by what is left."""
    if job.state not in SERVING or not session.scalar(select(exists().where(Delivery.job_id == job.id))):
        return
    left = outstanding(session, job)
    if DeliveryState.FAILED in left:
        fail_undelivered(session, job, at)
    elif not left:
        move(session, job, JobState.DONE, because=because, at=at, values={"finished_at": at, **_NO_REASON})
    elif job.state is JobState.FAILED:
        values = {"finished_at": None, **_NO_REASON}
        move(session, job, JobState.DELIVERING, because=because, at=at, values=values)


def fail_undelivered(session: Session, job: Job, at: dt.datetime) -> None:
    """A job of which something could not be delivered has failed, and says what."""
    reason = _undelivered(session, job)
    if job.state is JobState.DELIVERING:
        values = {"reason": reason, "reason_code": NOT_DELIVERED, "finished_at": at}
        move(session, job, JobState.FAILED, because=reason, at=at, values=values, code=NOT_DELIVERED)
    elif job.state is JobState.FAILED:
        session.execute(update(Job).where(Job.id == job.id).values(reason=reason))


def _undelivered(session: Session, job: Job) -> str:
    """What could not be delivered, per destination, with the last error of each."""
    query = select(Delivery.destination, Delivery.last_error)
    query = query.where(Delivery.job_id == job.id, Delivery.state == DeliveryState.FAILED).order_by(Delivery.id)
    errors: dict[str, list[str | None]] = {}
    for destination, error in session.execute(query):
        errors.setdefault(destination, []).append(error)
    told = (f"{name} did not take {len(found)} of the results: {found[-1]}" for name, found in errors.items())
    return "; ".join(told)
