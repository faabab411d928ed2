"""A job for pools that do not look into it, and how long to wait for them."""

from __future__ import annotations

from datetime import UTC, datetime

from pipelines.job import JobDescription

LONG = 240  # seconds; on a machine that has better things to do, starting a worker alone takes a minute
JOB = JobDescription(
    job_id="7",
    pipeline="brain-mr",
    inputs={},
    inputs_digest="",
    model_digest="",
    models={},
    output="",
    created=datetime(2026, 1, 1, tzinfo=UTC),
)
