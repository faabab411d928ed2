"""The destinations of a job: which have everything, and how others are added to a job that has results already."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from db.moves import move, note
from db.records import JobOrder, ResultFormat
from db.states import OUTSTANDING, DeliveryState, JobState, ResultKind
from db.stores.jobs.priority import more_urgent
from db.tables import Delivery, Job, Result


def new_destinations(job: Job, order: JobOrder) -> tuple[str, ...]:
    """Destinations of the order that the job does not serve."""
    return tuple(name for name in order.send_to if name not in job.send_to)


def can_add(session: Session, job: Job, order: JobOrder, formats: Mapping[str, ResultFormat]) -> bool:
    """Whether the job makes, or has made, what the order's destinations want; one that runs makes what it was told."""
    names = new_destinations(job, order)
    if not names:
        return True
    if job.state is JobState.RUNNING:
        return False
    made = _results(session, job)
    return not made or all(_made_for(job, made, formats[name], formats) for name in names if name in formats)


def _made_for(job: Job, made: Sequence[Result], wanted: ResultFormat, formats: Mapping[str, ResultFormat]) -> bool:
    forms = {result.encoding for result in made if result.kind in (ResultKind.SEGMENTATION, ResultKind.REPORT)}
    drawn = not job.send_to or any(name not in formats or formats[name].key_images for name in job.send_to)
    return bool(forms & {"", wanted.encoding}) and (drawn or not wanted.key_images)


def add_destinations(
    session: Session, job: Job, order: JobOrder, formats: Mapping[str, ResultFormat], at: dt.datetime
) -> tuple[str, ...]:
    """The job serves the order's destinations too, with what it has made already, and is as urgent as the order.

    Returns:
        Those that it had not served.
    """
    names, priority = new_destinations(job, order), more_urgent(job.priority, order.priority)
    if names or priority is not job.priority:
        served = [*job.send_to, *names]
        session.execute(update(Job).where(Job.id == job.id).values(send_to=served, priority=priority, updated_at=at))
        session.refresh(job)
    if names:
        note(session, job, "destinations added", because=f"rule {order.rule}", at=at, destinations=list(names))
        _deliver(session, job, names, formats, at)
    return names


def _deliver(
    session: Session, job: Job, names: Sequence[str], formats: Mapping[str, ResultFormat], at: dt.datetime
) -> None:
    rows = [
        {"job_id": job.id, "result_id": result.id, "destination": name, "next_attempt_at": at, "updated_at": at}
        for result in _results(session, job)
        for name in names
        if name not in formats or formats[name].takes(result.kind, result.encoding)
    ]
    if not rows:
        return
    session.execute(insert(Delivery), rows)
    if job.state is JobState.DONE:
        move(session, job, JobState.DELIVERING, because="more destinations", at=at, values={"finished_at": None})


def not_delivered_to(session: Session, job: Job) -> tuple[str, ...]:
    """Destinations of a job that have not got everything that they are to get."""
    query = select(Delivery.destination).where(Delivery.job_id == job.id, Delivery.state.in_(OUTSTANDING))
    waiting = set(session.scalars(query))
    return tuple(name for name in job.send_to if name in waiting or job.state is JobState.RUNNING)


def delivered_to(session: Session, job: Job) -> tuple[list[str], list[str]]:
    """The destinations that have everything that they are to get of a job, and those that have not."""
    query = select(Delivery.destination, Delivery.state).where(Delivery.job_id == job.id).distinct()
    found = session.execute(query).all()
    lacks = {name for name, state in found if state is not DeliveryState.ACCEPTED}
    return sorted({name for name, _ in found} - lacks), sorted(lacks)


def _results(session: Session, job: Job) -> Sequence[Result]:
    query = select(Result).where(Result.job_id == job.id, Result.kind != ResultKind.OVERLAY)
    return session.scalars(query.order_by(Result.id)).all()
