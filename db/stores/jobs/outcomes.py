"""How the outcome of a job becomes rows."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from db.records import JobOutcome, NewResult
from db.records.mapping import values
from db.tables import Delivery, Job, Measurement, Result
from db.tags import plain


def write_outcome(session: Session, job: Job, outcome: JobOutcome, at: dt.datetime) -> int:
    """Writes results, measurements and deliveries; returns how many deliveries there are to be made."""
    session.add_all(
        Measurement(**values(Measurement, figure, job_id=job.id, value=plain(figure.value)))
        for figure in outcome.measurements
    )
    results = [(Result(**values(Result, new, job_id=job.id, created_at=at)), new) for new in outcome.results]
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
