"""How the outcome of a job becomes rows."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from db.records import JobOutcome, NewMeasurement, NewResult
from db.tables import Delivery, Job, Measurement, Result
from db.tags import plain


def write_outcome(session: Session, job: Job, outcome: JobOutcome, at: dt.datetime) -> int:
    """Writes results, measurements and deliveries; returns how many deliveries there are to be made."""
    session.add_all(_measurement(job, figure) for figure in outcome.measurements)
    results = [(_result(job, new, at), new) for new in outcome.results]
    session.add_all(row for row, _ in results)
    session.flush()
    return _add_deliveries(session, job, results, at)


def findings(outcome: JobOutcome) -> dict[str, Any]:
    """The columns of a job that say what ran on it and what it found."""
    return {
        "models": dict(outcome.models),
        "engines": dict(outcome.engines),
        "timings": plain(dict(outcome.timings)),
        "notes": list(outcome.notes),
        "read": plain(dict(outcome.read)),
        "summary": outcome.summary,
    }


def _measurement(job: Job, figure: NewMeasurement) -> Measurement:
    return Measurement(
        job_id=job.id,
        subject=figure.subject,
        tracking_uid=figure.tracking_uid,
        label=figure.label,
        quantity=figure.quantity,
        value=plain(figure.value),
        unit=figure.unit,
        text=figure.text,
    )


def _result(job: Job, new: NewResult, at: dt.datetime) -> Result:
    return Result(
        job_id=job.id,
        kind=new.kind,
        name=new.name,
        path=new.path,
        size=new.size,
        content_digest=new.content_digest,
        sop_class_uid=new.sop_class_uid,
        sop_instance_uid=new.sop_instance_uid,
        series_instance_uid=new.series_instance_uid,
        encoding=new.encoding,
        created_at=at,
    )


def _add_deliveries(session: Session, job: Job, results: list[tuple[Result, NewResult]], at: dt.datetime) -> int:
    rows = [
        {"job_id": job.id, "result_id": result.id, "destination": name, "next_attempt_at": at, "updated_at": at}
        for result, new in results
        for name in (job.send_to if new.destinations is None else new.destinations)
        if name in job.send_to  # else it was dropped while the job ran
    ]
    if rows:
        session.execute(insert(Delivery), rows)
    return len(rows)
