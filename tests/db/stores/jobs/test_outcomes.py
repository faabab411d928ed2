from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.database import Database
from db.records import (
    IndexedInstance,
    JobOrder,
    JobOutcome,
    NewMeasurement,
    NewResult,
)
from db.states import JobState, ResultKind

Images = Callable[..., list[IndexedInstance]]
Order = Callable[..., JobOrder]
Routed = Callable[..., int]
Finish = Callable[..., JobState]
Events = Callable[[int], Sequence[str]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_what_was_found_is_written_with_the_move(database: Database, routed: Routed) -> None:
    job_id = routed(send_to=("pacs", "archive"))
    database.jobs.claim("host:1")
    segmentation = NewResult(
        kind=ResultKind.SEGMENTATION,
        name="seg.dcm",
        path=Path("/outbox/1/seg.dcm"),
        size=9,
        content_digest="d",
        sop_instance_uid="2.25.1",
    )
    labelmap = NewResult(
        kind=ResultKind.SEGMENTATION,
        name="labelmap.dcm",
        path=Path("/outbox/1/labelmap.dcm"),
        size=9,
        content_digest="e",
        destinations=("archive",),
    )
    picture = NewResult(
        kind=ResultKind.OVERLAY, name="1.png", path=Path("/1.png"), size=9, content_digest="f", destinations=()
    )
    outcome = JobOutcome(
        results=(segmentation, labelmap, picture),
        measurements=(
            NewMeasurement(
                subject="Lesion 1", quantity="Volume", value=1.5, unit="mL", label="tumour", tracking_uid="2.1"
            ),
            NewMeasurement(subject="", quantity="Answer", text="tumour"),
            NewMeasurement(subject="", quantity="Unknown", value=float("nan")),
        ),
        models={"liver": "abc"},
        engines={"liver": "openvino bf16 CPU"},
        timings={"infer": 1.25},
        summary="1 lesion, 1.5 ml",
        notes=("no portal venous phase",),
    )
    assert database.jobs.finish(job_id, outcome) is JobState.DELIVERING
    detail = database.jobs.show(job_id)
    assert (detail.job.models, detail.job.engines) == (outcome.models, outcome.engines)
    assert (detail.job.timings, detail.job.summary, detail.job.notes) == (
        outcome.timings,
        outcome.summary,
        outcome.notes,
    )
    assert [row.name for row in detail.results] == ["seg.dcm", "labelmap.dcm", "1.png"]
    assert [(row.subject, row.value, row.text) for row in detail.measurements] == [
        ("Lesion 1", 1.5, None),
        ("", None, "tumour"),
        ("", None, None),
    ]
    assert sorted((row.result, row.destination) for row in detail.deliveries) == [
        ("labelmap.dcm", "archive"),
        ("seg.dcm", "archive"),
        ("seg.dcm", "pacs"),
    ]


def test_a_job_without_destinations_is_done_at_once(database: Database, routed: Routed, events: Events) -> None:
    job_id = routed(send_to=())
    database.jobs.claim("host:1")
    assert database.jobs.finish(job_id, JobOutcome(), now=NOON + timedelta(minutes=1)) is JobState.DONE
    assert events(job_id)[-2:] == ["running -> delivering", "delivering -> done"]
    assert database.jobs.get(job_id).finished_at == NOON + timedelta(minutes=1)


def test_two_results_of_one_name_are_refused_whole(database: Database, routed: Routed) -> None:
    job_id = routed()
    database.jobs.claim("host:1")
    twice = NewResult(kind=ResultKind.REPORT, name="sr", path=Path("/sr.dcm"), size=1, content_digest="d")
    with pytest.raises(Exception, match=r"(?i)unique"):
        database.jobs.finish(job_id, JobOutcome(results=(twice, twice)))
    assert database.jobs.get(job_id).state is JobState.RUNNING
    assert database.jobs.show(job_id).results == ()
