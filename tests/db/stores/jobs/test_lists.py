from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from db.database import Database
from db.records import IndexedInstance, JobFilter
from db.states import JobState, Priority, StudyState
from db.tables import Job, Study

Images = Callable[..., list[IndexedInstance]]
Routed = Callable[..., int]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_jobs_and_studies_without_jobs_are_on_one_list_latest_change_first(
    database: Database, every_state: dict[str, int]
) -> None:
    lines = database.jobs.find()
    assert [line.state for line in lines[:4]] == ["unmatched", "failed", "refused", "running"]
    assert {line.state for line in lines[4:]} == {"queued", "receiving"}
    by_state = {line.state.value: line for line in lines}
    assert by_state["unmatched"].job_id is None
    assert by_state["unmatched"].why == "liver: Modality is MR, not CT"
    assert by_state["failed"].why == "killed its worker twice: out of memory"
    assert by_state["running"].worker == "host:1"
    assert by_state["refused"].job_id == every_state["refused"]
    assert database.jobs.find(JobFilter(limit=2)) == lines[:2]


@pytest.mark.parametrize(
    ("wanted", "states"),
    [
        (JobFilter(states=frozenset({"failed", "unmatched"})), {"failed", "unmatched"}),
        (JobFilter(states=frozenset({JobState.RUNNING})), {"running"}),
        (JobFilter(states=frozenset({StudyState.RECEIVING})), {"receiving"}),
        (JobFilter(pipeline="brain-mr"), {"refused"}),
        (JobFilter(rule="liver"), {"failed", "refused", "running", "queued"}),
        (JobFilter(study_uid="1.9"), {"unmatched"}),
        (JobFilter(patient_id="P8"), {"receiving"}),
        (JobFilter(accession_number="A8"), {"receiving"}),
        (JobFilter(patient_id="P1", states=frozenset({"queued"})), {"queued"}),
        (JobFilter(since=NOON + timedelta(seconds=15)), {"failed", "unmatched"}),
        (JobFilter(since=NOON + timedelta(seconds=5), until=NOON + timedelta(seconds=15)), {"refused"}),
        (JobFilter(source_ae="MR7"), {"receiving"}),
        (JobFilter(reason_code="tilted-gantry"), {"refused"}),
        (JobFilter(reason_code="no-rule"), {"unmatched"}),
        (JobFilter(stuck_before=NOON), {"failed", "refused", "unmatched"}),
        (
            JobFilter(stuck_before=NOON + timedelta(seconds=1)),
            {"failed", "refused", "unmatched", "receiving", "queued"},
        ),
    ],
)
def test_the_list_can_be_narrowed(
    database: Database, every_state: dict[str, int], wanted: JobFilter, states: set[str]
) -> None:
    assert {line.state.value for line in database.jobs.find(wanted)} == states


def test_a_line_says_who_sent_the_images(database: Database, images: Images) -> None:
    database.studies.index([*images(1, source_ae="CT1"), *images(1, first=2, source_ae="CT2")])
    assert database.jobs.find()[0].senders == ("CT1", "CT2")


def test_a_study_knows_its_jobs(database: Database, every_state: dict[str, int]) -> None:
    assert database.studies.show("1.2").jobs == (every_state["failed"],)
    assert database.studies.show("1.9").jobs == ()


def test_with_ten_thousand_jobs_a_question_costs_far_less_than_reading_them(database: Database, many: None) -> None:
    everything = quickest(lambda: database.jobs.find(JobFilter(limit=10_000)))
    for use in (
        lambda: database.jobs.find(JobFilter(limit=50)),
        lambda: database.jobs.find(JobFilter(patient_id="P777")),
        lambda: database.jobs.find(JobFilter(states=frozenset({"failed"}), limit=50)),
        lambda: database.jobs.claim("host:1"),
        lambda: database.deliveries.due(NOON, limit=50),
        database.counts,
    ):
        assert quickest(use) * 3 < everything


def quickest(use: Callable[[], object]) -> float:
    took = []
    for _ in range(3):
        start = time.perf_counter()
        use()
        took.append(time.perf_counter() - start)
    return min(took)


@pytest.fixture
def many(database: Database) -> None:
    """Ten thousand studies with a job each, most of them done; written past the store, for speed."""
    numbers = range(1, 10_001)
    states = {number: "failed" if number % 100 == 0 else "queued" if number % 50 == 0 else "done" for number in numbers}
    with database.write() as session:
        session.execute(insert(Study), [_study(number) for number in numbers])
        session.execute(insert(Job), [_job(number, states[number]) for number in numbers])


def _study(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "study_instance_uid": f"1.{number}",
        "state": StudyState.ROUTED,
        "patient_id": f"P{number}",
        "accession_number": "",
        "study_date": "",
        "description": "",
        "tags": {},
        "first_received_at": NOON,
        "last_received_at": NOON,
        "updated_at": NOON,
    }


def _job(number: int, state: str) -> dict[str, Any]:
    return {
        "study_id": number,
        "state": JobState(state),
        "rule": "liver",
        "pipeline": "abdomen-ct",
        "priority": Priority.ROUTINE,
        "roles": {},
        "send_to": [],
        "inputs_digest": f"d{number}",
        "model_digest": "m",
        "created_at": NOON,
        "updated_at": NOON + timedelta(seconds=number),
    }
