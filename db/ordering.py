"""How a job is made, and takes the place of an older one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from db.digests import inputs_digest
from db.errors import InputsChanged, UnknownSeries
from db.jobrows import CLOSED, drop_undelivered
from db.moves import move, note
from db.records import AlreadyExists, Created, JobOrder
from db.states import JobState
from db.tables import Instance, Job, JobInput, Series, Study

Inputs = dict[str, list[Instance]]


def order_job(session: Session, study: Study, order: JobOrder, at: dt.datetime) -> Created | AlreadyExists:
    """Makes the job over the images that are there now; the study must be locked."""
    inputs = _inputs(session, study, order.roles)
    digest = inputs_digest(
        (role, image.sop_instance_uid, image.content_digest) for role, images in inputs.items() for image in images
    )
    if order.inputs_digest not in (None, digest):
        raise InputsChanged(study_uid=study.study_instance_uid)
    if (twin := _twin(session, order, digest)) is not None:
        return _add_destinations(session, twin, order, at)
    job = _insert(session, study, order, digest, at)
    pairs = [
        {"job_id": job.id, "role": role, "instance_id": image.id} for role, images in inputs.items() for image in images
    ]
    session.execute(insert(JobInput), pairs)
    return Created(job.id, superseded=_supersede(session, job, at))


def _inputs(session: Session, study: Study, roles: Mapping[str, str]) -> Inputs:
    inputs = {}
    for role, uid in roles.items():
        query = select(Instance).join(Series, Series.id == Instance.series_id).order_by(Instance.id)
        query = query.where(Series.study_id == study.id, Series.series_instance_uid == uid, Instance.current)
        inputs[role] = list(session.scalars(query))
        if not inputs[role]:
            raise UnknownSeries(name=uid)
    return inputs


def _twin(session: Session, order: JobOrder, digest: str) -> Job | None:
    """The job over the same images with the same models, unless it was given up."""
    query = select(Job).where(
        Job.inputs_digest == digest,
        Job.pipeline == order.pipeline,
        Job.model_digest == order.model_digest,
        Job.state.not_in(CLOSED),
    )
    return session.scalar(query.with_for_update(key_share=True))


def _add_destinations(session: Session, twin: Job, order: JobOrder, at: dt.datetime) -> AlreadyExists:
    """Another rule wants the same result elsewhere: while nothing has been sent, the job simply gets more to serve."""
    missing = tuple(name for name in order.send_to if name not in twin.send_to)
    if missing and twin.state in (JobState.QUEUED, JobState.RUNNING):
        session.execute(update(Job).where(Job.id == twin.id).values(send_to=[*twin.send_to, *missing]))
        note(session, twin, "destinations added", because=f"rule {order.rule}", at=at, destinations=list(missing))
        missing = ()
    return AlreadyExists(twin.id, twin.state, not_sent_to=missing)


def _insert(session: Session, study: Study, order: JobOrder, digest: str, at: dt.datetime) -> Job:
    job = Job(
        study_id=study.id,
        state=JobState.QUEUED,
        rule=order.rule,
        pipeline=order.pipeline,
        priority=order.priority,
        roles=dict(order.roles),
        send_to=list(order.send_to),
        inputs_digest=digest,
        model_digest=order.model_digest,
        created_at=at,
        updated_at=at,
    )
    session.add(job)
    session.flush()
    note(session, job, f"-> {JobState.QUEUED}", because=f"rule {order.rule}", at=at)
    return job


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
        move(session, old, JobState.SUPERSEDED, because=f"job {job.id} over a newer set", at=at, values=values)
        drop_undelivered(session, old, f"job {old.id} was superseded by job {job.id}", at)
    return tuple(old.id for old in older)
