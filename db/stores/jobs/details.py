"""One job with all that belongs to it, as records."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from db.moves import events
from db.records import ClaimedJob, DeliveryRow, JobDetail, JobRow, MeasurementRow, ResultRow
from db.records.mapping import record
from db.stores.jobs.rows import inputs_of, job_record
from db.stores.studies import losses
from db.stores.studies.rows import associations, series_rows, study_row
from db.tables import Delivery, Instance, Job, JobEvent, JobInput, Measurement, Result, Study


def job_detail(session: Session, job: Job) -> JobDetail:
    """All that is known of a job."""
    study = session.get_one(Study, job.study_id)
    return JobDetail(
        job=job_record(session, JobRow, job),
        study=study_row(study),
        events=events(session, JobEvent.job_id == job.id),
        results=_results(session, job),
        measurements=_measurements(session, job),
        deliveries=_deliveries(session, job),
        associations=associations(session, _is_input_of(job)),
        inputs=inputs_of(session, job),
        series=series_rows(session, study),
        lost=losses.of_study(session, study),
    )


def claimed_job(session: Session, job: Job) -> ClaimedJob:
    """A job with what it has to know of its images and of their study."""
    study = session.get_one(Study, job.study_id)
    told = {row.series_instance_uid: row.description for row in series_rows(session, study)}
    return job_record(
        session,
        ClaimedJob,
        job,
        inputs=inputs_of(session, job),
        descriptions={role: told.get(uid, "") for role, uid in job.roles.items()},
        images=study.images,
        lost=losses.of_study(session, study),
    )


def _results(session: Session, job: Job) -> tuple[ResultRow, ...]:
    """What a job made."""
    query = select(Result).where(Result.job_id == job.id).order_by(Result.id)
    return tuple(record(ResultRow, row) for row in session.scalars(query))


def _measurements(session: Session, job: Job) -> tuple[MeasurementRow, ...]:
    """What a job found, in the order in which it told."""
    query = select(Measurement).where(Measurement.job_id == job.id).order_by(Measurement.id)
    return tuple(record(MeasurementRow, row) for row in session.scalars(query))


def _deliveries(session: Session, job: Job) -> tuple[DeliveryRow, ...]:
    """Where the results of a job are on their way."""
    query = select(Delivery, Result.name).join(Result, Result.id == Delivery.result_id)
    query = query.where(Delivery.job_id == job.id).order_by(Delivery.id)
    return tuple(record(DeliveryRow, row, result=name) for row, name in session.execute(query))


def _is_input_of(job: Job) -> ColumnElement[bool]:
    """Whether an instance is one that the job works on."""
    return Instance.id.in_(select(JobInput.instance_id).where(JobInput.job_id == job.id))
