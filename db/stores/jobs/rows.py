"""Rows of jobs, and the images that they work on, as records."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import UnknownJob
from db.records import InputFile, JobRow
from db.records.mapping import record
from db.states import JobState
from db.tables import Instance, Job, JobInput, Study

CLOSED = (JobState.SUPERSEDED, JobState.CANCELLED)
"""What is given up for good: no longer in the way of the same work being asked for again."""

R = TypeVar("R", bound=JobRow)


def find_job(session: Session, job_id: int, *, lock: bool = False) -> Job:
    """The row of a job; locked, it stays as it is until the transaction ends."""
    query = select(Job).where(Job.id == job_id)
    job = session.scalar(query.with_for_update(key_share=True) if lock else query)
    if job is None:
        raise UnknownJob(name=job_id)
    return job


def job_record(session: Session, kind: type[R], job: Job, **more: Any) -> R:
    """The job as a record."""
    uid = session.scalar(select(Study.study_instance_uid).where(Study.id == job.study_id))
    return record(kind, job, study_uid=uid, send_to=tuple(job.send_to), notes=tuple(job.notes), **more)


def inputs_of(session: Session, job: Job) -> dict[str, tuple[InputFile, ...]]:
    """The images that a job works on, by role, in the order in which they came."""
    query = select(JobInput.role, Instance.sop_instance_uid, Instance.path)
    query = query.join(Instance, Instance.id == JobInput.instance_id).where(JobInput.job_id == job.id)
    found: dict[str, list[InputFile]] = defaultdict(list)
    for role, uid, path in session.execute(query.order_by(Instance.id)):
        found[role].append(InputFile(uid, path))
    return {role: tuple(files) for role, files in found.items()}
