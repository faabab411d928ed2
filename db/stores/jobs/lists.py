"""The list of jobs, and of studies that have none."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.chunks import chunks
from db.records import JobFilter, JobSummary
from db.records.mapping import record
from db.states import NEED_A_PERSON, OUTSTANDING, DeliveryState, JobState, StudyState
from db.stores.studies.losses import count_by_study
from db.stores.studies.rows import study_row
from db.tables import Delivery, Instance, Job, Series, Study

_UNDER_WAY = (JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING)
_WITHOUT_JOB = (StudyState.RECEIVING, StudyState.COMPLETE, StudyState.UNMATCHED)


def summaries(session: Session, wanted: JobFilter) -> list[JobSummary]:
    """Jobs, and studies that have none (yet), latest change first."""
    found = _of_jobs(session, wanted)
    # A study has no pipeline and no rule before it has a job.
    if wanted.pipeline is None and wanted.rule is None:
        found += [_of_study(study) for study in session.scalars(_studies(wanted))]
    found.sort(key=lambda one: one.updated_at, reverse=True)
    return _with_senders(session, _count_conflicts(session, found[: wanted.limit]))


def _studies(wanted: JobFilter) -> Any:
    states = [state for state in _WITHOUT_JOB if not wanted.states or state in wanted.states]
    query = select(Study).where(Study.state.in_(states), *_narrowing(wanted))
    query = query.where(*_between(Study.updated_at, wanted))
    if wanted.reason_code is not None:
        query = query.where(Study.reason_code == wanted.reason_code)
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
    query = query.where(*_between(Job.updated_at, wanted))
    if wanted.reason_code is not None:
        query = query.where(or_(Job.reason_code == wanted.reason_code, _undelivered_for(wanted.reason_code)))
    if wanted.stuck_before is not None:
        still = and_(Job.state.in_(_UNDER_WAY), Job.updated_at < wanted.stuck_before)
        query = query.where(or_(Job.state.in_(NEED_A_PERSON), still))
    return query.order_by(Job.updated_at.desc(), Job.id.desc()).limit(wanted.limit)


def _narrowing(wanted: JobFilter) -> list[ColumnElement[bool]]:
    """To one study, patient or accession number."""
    given = (
        (Study.study_instance_uid, wanted.study_uid),
        (Study.patient_id, wanted.patient_id),
        (Study.accession_number, wanted.accession_number),
    )
    narrow = [column == value for column, value in given if value is not None]
    if wanted.source_ae is not None:
        of_study = (Series.study_id == Study.id) & (Instance.series_id == Series.id)
        narrow.append(exists().where(of_study, Instance.source_ae == wanted.source_ae))
    return narrow


def _between(column: InstrumentedAttribute[dt.datetime], wanted: JobFilter) -> list[ColumnElement[bool]]:
    since = [] if wanted.since is None else [column >= wanted.since]
    return since if wanted.until is None else [*since, column < wanted.until]


def _undelivered_for(reason_code: str) -> ColumnElement[bool]:
    why = (Delivery.reason_code == reason_code) & Delivery.state.in_(OUTSTANDING)
    return exists().where(Delivery.job_id == Job.id, why)


def _of_study(study: Study) -> JobSummary:
    return JobSummary(
        job_id=None,
        state=study.state,
        study=study_row(study),
        why="; ".join(study.reasons),
        reason_code=study.reason_code,
        created_at=study.first_received_at,
        updated_at=study.updated_at,
    )


def _of_jobs(session: Session, wanted: JobFilter) -> list[JobSummary]:
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
    for chunk in chunks({one.study.study_instance_uid for one in found}):
        query = select(Study.study_instance_uid, func.count()).join(Series, Series.study_id == Study.id)
        query = query.join(Instance, Instance.series_id == Series.id)
        query = query.where(Instance.conflict, Study.study_instance_uid.in_(chunk))
        counts |= dict(iter(session.execute(query.group_by(Study.study_instance_uid))))
    lost = count_by_study(session, {one.study.study_instance_uid for one in found})
    return [
        replace(one, conflicts=counts.get(uid, 0), lost=lost.get(uid, 0))
        for one in found
        for uid in [one.study.study_instance_uid]
    ]


def _with_senders(session: Session, found: list[JobSummary]) -> list[JobSummary]:
    senders: dict[str, list[str]] = defaultdict(list)
    for chunk in chunks({one.study.study_instance_uid for one in found}):
        query = select(Study.study_instance_uid, Instance.source_ae).join(Series, Series.study_id == Study.id)
        query = query.join(Instance, Instance.series_id == Series.id).where(Study.study_instance_uid.in_(chunk))
        for uid, sender in session.execute(query.distinct().order_by(Instance.source_ae)):
            senders[uid].append(sender)
    return [replace(one, senders=tuple(senders[one.study.study_instance_uid])) for one in found]
