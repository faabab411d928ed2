"""How a job is made, and takes the place of an older one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from db.digests import inputs_digest
from db.errors import InputsChanged, UnknownSeries
from db.moves import move, note
from db.records import AlreadyExists, Created, JobOrder, ResultFormat
from db.records.mapping import values
from db.states import JobState
from db.stores.deliveries.of_job import cancel_undelivered
from db.stores.jobs.destinations import add_destinations, can_add, new_destinations, not_delivered_to
from db.stores.jobs.priority import more_urgent
from db.stores.jobs.rows import CLOSED
from db.tables import Instance, Job, JobInput, Series, Study

Inputs = dict[str, list[Instance]]


def order_job(
    session: Session, study: Study, order: JobOrder, at: dt.datetime, formats: Mapping[str, ResultFormat]
) -> Created | AlreadyExists:
    """Makes the job over the images that are there now, unless one that there is does the same; study locked."""
    inputs = _inputs(session, study, order.roles)
    digest = inputs_digest(
        (role, image.sop_instance_uid, image.content_digest) for role, images in inputs.items() for image in images
    )
    if order.inputs_digest not in (None, digest):
        raise InputsChanged(study_uid=study.study_instance_uid)
    existing = _existing_job(session, order, digest)
    if existing is not None:
        if can_add(session, existing, order, formats):
            added = add_destinations(session, existing, order, formats, at)
            return AlreadyExists(existing.id, existing.state, added)
        order = _in_place_of(session, existing, order, at)
    job = _insert(session, study, order, digest, at)
    _insert_inputs(session, job, inputs)
    older = _supersede(session, job, at)
    if existing is not None:
        session.execute(update(Job).where(Job.id == existing.id).values(superseded_by=job.id))
        older = (existing.id, *older)
    return Created(job.id, superseded=older)


def _inputs(session: Session, study: Study, roles: Mapping[str, str]) -> Inputs:
    inputs = {}
    for role, uid in roles.items():
        query = select(Instance).join(Series, Series.id == Instance.series_id).order_by(Instance.id)
        query = query.where(Series.study_id == study.id, Series.series_instance_uid == uid, Instance.current)
        inputs[role] = list(session.scalars(query))
        if not inputs[role]:
            raise UnknownSeries(name=uid)
    return inputs


def _existing_job(session: Session, order: JobOrder, digest: str) -> Job | None:
    """The job over the same images with the same models, unless it was given up."""
    query = select(Job).where(
        Job.inputs_digest == digest,
        Job.pipeline == order.pipeline,
        Job.model_digest == order.model_digest,
        Job.state.not_in(CLOSED),
    )
    return session.scalar(query.with_for_update(key_share=True))


def _in_place_of(session: Session, existing: Job, order: JobOrder, at: dt.datetime) -> JobOrder:
    """The order for a job that makes what the existing one does not, and goes where that one has not delivered yet."""
    names, waiting = new_destinations(existing, order), not_delivered_to(session, existing)
    why = f"rule {order.rule} wants more than it makes, for {', '.join(names)}"
    move(session, existing, JobState.SUPERSEDED, because=why, at=at, values={"finished_at": existing.finished_at or at})
    cancel_undelivered(session, existing, f"job {existing.id} was superseded", at)
    urgent = more_urgent(existing.priority, order.priority)
    return replace(order, rule=existing.rule, send_to=(*waiting, *names), priority=urgent)


def _insert(session: Session, study: Study, order: JobOrder, digest: str, at: dt.datetime) -> Job:
    columns = values(
        Job,
        order,
        study_id=study.id,
        state=JobState.QUEUED,
        roles=dict(order.roles),
        send_to=list(order.send_to),
        inputs_digest=digest,
        created_at=at,
        updated_at=at,
    )
    job = Job(**columns)
    session.add(job)
    session.flush()
    note(session, job, f"-> {JobState.QUEUED}", because=f"rule {order.rule}", at=at)
    return job


def _insert_inputs(session: Session, job: Job, inputs: Inputs) -> None:
    pairs = [
        {"job_id": job.id, "role": role, "instance_id": image.id} for role, images in inputs.items() for image in images
    ]
    session.execute(insert(JobInput), pairs)


def _supersede(session: Session, job: Job, at: dt.datetime) -> tuple[int, ...]:
    """Older jobs of the same study, rule and pipeline stop where they are; what was accepted stays recorded."""
    query = select(Job).where(
        Job.study_id == job.study_id,
        Job.rule == job.rule,
        Job.pipeline == job.pipeline,
        Job.id != job.id,
        Job.state.not_in(CLOSED),
    )
    older = session.scalars(query.order_by(Job.id).with_for_update(key_share=True)).all()
    for old in older:
        values = {"superseded_by": job.id, "finished_at": old.finished_at or at}
        why = f"job {job.id} {_difference(old, job)}"
        move(session, old, JobState.SUPERSEDED, because=why, at=at, values=values)
        cancel_undelivered(session, old, f"job {old.id} was superseded by job {job.id}", at)
    return tuple(old.id for old in older)


def _difference(old: Job, new: Job) -> str:
    """What a job has that the one before it had not."""
    told = []
    if new.roles != old.roles:
        told.append("over other series")
    elif new.inputs_digest != old.inputs_digest:
        told.append("over a newer set of images")
    if new.model_digest != old.model_digest:
        told.append("with other models")
    return " and ".join(told) or "in its place"
