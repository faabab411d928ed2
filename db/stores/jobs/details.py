"""Rows of one job or study, as records."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, aliased

from db.records import (
    AssociationRow,
    Conflict,
    DeliveryRow,
    DestinationRow,
    EventRow,
    MeasurementRow,
    ResultRow,
    SeriesRow,
)
from db.records.mapping import record
from db.states import DeliveryState
from db.tables import Association, Delivery, Instance, Job, JobEvent, JobInput, Measurement, Result, Series, Study


def events(session: Session, about: ColumnElement[bool]) -> tuple[EventRow, ...]:
    """What happened, oldest first."""
    return tuple(record(EventRow, row) for row in session.scalars(select(JobEvent).where(about).order_by(JobEvent.id)))


def results(session: Session, job: Job) -> tuple[ResultRow, ...]:
    """What a job made."""
    query = select(Result).where(Result.job_id == job.id).order_by(Result.id)
    return tuple(record(ResultRow, row) for row in session.scalars(query))


def measurements(session: Session, job: Job) -> tuple[MeasurementRow, ...]:
    """What a job found, in the order in which it told."""
    query = select(Measurement).where(Measurement.job_id == job.id).order_by(Measurement.id)
    return tuple(record(MeasurementRow, row) for row in session.scalars(query))


def deliveries(session: Session, job: Job) -> tuple[DeliveryRow, ...]:
    """Where the results of a job are on their way."""
    query = select(Delivery, Result.name).join(Result, Result.id == Delivery.result_id)
    query = query.where(Delivery.job_id == job.id).order_by(Delivery.id)
    return tuple(record(DeliveryRow, row, result=name) for row, name in session.execute(query))


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
    open_states = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.FAILED)
    query = select(Delivery).where(Delivery.destination == name, Delivery.state.in_(open_states))
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


def series(session: Session, study: Study) -> tuple[SeriesRow, ...]:
    """The series of a study, in the order in which they came."""
    query = select(Series).where(Series.study_id == study.id).order_by(Series.id)
    return tuple(record(SeriesRow, row) for row in session.scalars(query))


def instances_of_job(job: Job) -> ColumnElement[bool]:
    """Whether an instance is one that the job works on."""
    return Instance.id.in_(select(JobInput.instance_id).where(JobInput.job_id == job.id))


def instances_of_study(study: Study) -> ColumnElement[bool]:
    """Whether an instance belongs to the study."""
    return Instance.series_id.in_(select(Series.id).where(Series.study_id == study.id))


def associations(session: Session, of: ColumnElement[bool]) -> tuple[AssociationRow, ...]:
    """The associations that brought these instances, one that never ended in order (the power went) included."""
    query = select(Instance.association_id, func.min(Instance.source_ae), func.count())
    query = query.where(of, Instance.association_id.is_not(None)).group_by(Instance.association_id)
    found = []
    for uid, source_ae, files in session.execute(query.order_by(func.min(Instance.id))).all():
        ended = session.get(Association, uid)
        found.append(record(AssociationRow, ended) if ended else _never_ended(str(uid), source_ae, files))
    return tuple(found)


def _never_ended(uid: str, source_ae: str, files: int) -> AssociationRow:
    return AssociationRow(
        association_id=uid,
        calling_ae=source_ae,
        called_ae="",
        peer_host="",
        opened_at=None,
        closed_at=None,
        how=None,
        files=files,
    )


def conflicts(session: Session, narrow: Sequence[ColumnElement[bool]], limit: int) -> tuple[Conflict, ...]:
    """Images that came twice with different content, latest first."""
    kept = aliased(Instance)
    query = (
        select(Instance, kept, Study)
        .join(kept, (kept.sop_instance_uid == Instance.sop_instance_uid) & (kept.series_id == Instance.series_id))
        .join(Series, Series.id == Instance.series_id)
        .join(Study, Study.id == Series.study_id)
        .where(Instance.conflict, kept.current, *narrow)
        .order_by(Instance.received_at.desc(), Instance.id.desc())
        .limit(limit)
    )
    return tuple(_conflict(other, first, study) for other, first, study in session.execute(query))


def _conflict(other: Instance, kept: Instance, study: Study) -> Conflict:
    return record(
        Conflict,
        other,
        study_uid=study.study_instance_uid,
        patient_id=study.patient_id,
        kept=kept.path,
        kept_digest=kept.content_digest,
        other=other.path,
        other_digest=other.content_digest,
    )
