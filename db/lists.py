"""The one list of all that is in the house: jobs, and studies that have none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from db.assembly import study_row
from db.indexing import chunks
from db.losses import counted
from db.records import JobFilter, JobSummary
from db.records.mapping import record
from db.states import DeliveryState, JobState, StudyState
from db.tables import Delivery, Instance, Job, Series, Study

_NEED_A_PERSON = (JobState.FAILED, JobState.REFUSED)
_UNDER_WAY = (JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING)
_WITHOUT_JOB = (StudyState.RECEIVING, StudyState.COMPLETE, StudyState.UNMATCHED)


def lines(session: Session, wanted: JobFilter) -> list[JobSummary]:
    """What a list shows, latest change first."""
    found = _job_lines(session, wanted)
    # A study has no pipeline and no rule before it has a job.
    if wanted.pipeline is None and wanted.rule is None:
        found += [_study_line(study) for study in session.scalars(_studies(wanted))]
    found.sort(key=lambda line: line.updated_at, reverse=True)
    return _count_conflicts(session, found[: wanted.limit])


def _studies(wanted: JobFilter) -> Any:
    states = [state for state in _WITHOUT_JOB if not wanted.states or state in wanted.states]
    query = select(Study).where(Study.state.in_(states), *_narrowing(wanted))
    if wanted.since is not None:
        query = query.where(Study.updated_at >= wanted.since)
    if wanted.stuck_before is not None:
        query = query.where(or_(Study.state == StudyState.UNMATCHED, Study.updated_at < wanted.stuck_before))
    return query.order_by(Study.updated_at.desc()).limit(wanted.limit)


def _jobs(wanted: JobFilter) -> Any:
    query = select(Job, Study).join(Study, Study.id == Job.study_id).where(*_narrowing(wanted))
    if wanted.states:
        query = query.where(Job.state.in_([state for state in JobState if state in wanted.states]))
    for column, value in ((Job.pipeline, wanted.pipeline), (Job.rule, wanted.rule)):
        if value is not None:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(Job.updated_at >= wanted.since)
    if wanted.stuck_before is not None:
        still = and_(Job.state.in_(_UNDER_WAY), Job.updated_at < wanted.stuck_before)
        query = query.where(or_(Job.state.in_(_NEED_A_PERSON), still))
    return query.order_by(Job.updated_at.desc(), Job.id.desc()).limit(wanted.limit)


def _narrowing(wanted: JobFilter) -> list[ColumnElement[bool]]:
    """To one study, patient or accession number."""
    given = (
        (Study.study_instance_uid, wanted.study_uid),
        (Study.patient_id, wanted.patient_id),
        (Study.accession_number, wanted.accession_number),
    )
    return [column == value for column, value in given if value is not None]


def _study_line(study: Study) -> JobSummary:
    return JobSummary(
        job_id=None,
        state=study.state,
        study=study_row(study),
        why="; ".join(study.reasons),
        created_at=study.first_received_at,
        updated_at=study.updated_at,
    )


def _job_lines(session: Session, wanted: JobFilter) -> list[JobSummary]:
    pairs: list[tuple[Job, Study]] = [(job, study) for job, study in session.execute(_jobs(wanted))]
    ids = [job.id for job, _ in pairs]
    counts, errors = _delivery_counts(session, ids), _delivery_errors(session, ids)
    return [
        record(
            JobSummary,
            job,
            job_id=job.id,
            study=study_row(study),
            summary=job.summary or "",
            why=job.reason or errors.get(job.id, ""),
            deliveries=counts.get(job.id, {}),
        )
        for job, study in pairs
    ]


def _delivery_counts(session: Session, ids: Sequence[int]) -> dict[int, dict[DeliveryState, int]]:
    counts: dict[int, dict[DeliveryState, int]] = defaultdict(dict)
    for chunk in chunks(ids):
        query = select(Delivery.job_id, Delivery.state, func.count()).where(Delivery.job_id.in_(chunk))
        for job_id, state, number in session.execute(query.group_by(Delivery.job_id, Delivery.state)):
            counts[job_id][state] = number
    return counts


def _delivery_errors(session: Session, ids: Sequence[int]) -> dict[int, str]:
    """Why a job is still delivering: the last error of a destination that is being tried again."""
    errors = {}
    for chunk in chunks(ids):
        query = select(Delivery).where(Delivery.job_id.in_(chunk), Delivery.last_error.is_not(None))
        query = query.where(Delivery.state.in_((DeliveryState.PENDING, DeliveryState.SENDING)))
        for row in session.scalars(query.order_by(Delivery.updated_at)):
            errors[row.job_id] = f"{row.destination}: {row.last_error} (tries: {row.attempts})"
    return errors


def _count_conflicts(session: Session, found: list[JobSummary]) -> list[JobSummary]:
    counts: dict[str, int] = {}
    for chunk in chunks({line.study.study_instance_uid for line in found}):
        query = select(Study.study_instance_uid, func.count()).join(Series, Series.study_id == Study.id)
        query = query.join(Instance, Instance.series_id == Series.id)
        query = query.where(Instance.conflict, Study.study_instance_uid.in_(chunk))
        counts |= dict(iter(session.execute(query.group_by(Study.study_instance_uid))))
    lost = counted(session, {line.study.study_instance_uid for line in found})
    return [
        replace(line, conflicts=counts.get(uid, 0), lost=lost.get(uid, 0))
        for line in found
        for uid in [line.study.study_instance_uid]
    ]
