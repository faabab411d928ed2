from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from db.database import Database
from db.errors import IllegalMove, UnknownJob
from db.records import (
    IndexedInstance,
    JobOrder,
    JobOutcome,
    NewMeasurement,
)
from db.states import DeliveryState, JobState, Priority

Images = Callable[..., list[IndexedInstance]]
Order = Callable[..., JobOrder]
Routed = Callable[..., int]
Finish = Callable[..., JobState]
Events = Callable[[int], Sequence[str]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize("end", ["retry", "failed", "recover"])
def test_a_delivery_on_the_wire_of_a_job_that_was_given_up_is_not_tried_again(
    database: Database, routed: Routed, finish: Finish, end: str
) -> None:
    old = routed()
    finish(old)
    (first,) = (item.id for batch in database.deliveries.due(NOON) for item in batch.items)
    database.deliveries.start([first], "host:1")
    database.jobs.cancel(old, "by operator")
    match end:
        case "retry":
            database.deliveries.retry(first, "no answer", NOON)
        case "failed":
            database.deliveries.fail(first, "refused", 0xA900)
        case _:
            database.jobs.recover("host:2")
    assert [row.state for row in database.jobs.show(old).deliveries] == [DeliveryState.CANCELLED]
    assert database.jobs.get(old).state is JobState.CANCELLED


def test_stat_goes_before_routine_before_low_and_the_older_first(database: Database, routed: Routed) -> None:
    made = [routed(f"1.{n}", priority=p) for n, p in enumerate(["low", "routine", "stat", "routine", "stat"], 2)]
    claimed = []
    while (job := database.jobs.claim("host:1")) is not None:
        claimed.append(job.id)
    assert claimed == [made[2], made[4], made[1], made[3], made[0]]
    assert Priority("stat") is Priority.STAT


def test_a_job_that_loses_its_worker_twice_has_failed(database: Database, routed: Routed, events: Events) -> None:
    job_id = routed()
    database.jobs.claim("host:1")
    assert database.jobs.worker_lost(job_id, "killed by signal 9") is JobState.QUEUED
    assert database.jobs.get(job_id).worker is None
    database.jobs.claim("host:1")
    assert database.jobs.worker_lost(job_id, "out of memory") is JobState.FAILED
    job = database.jobs.get(job_id)
    assert (job.reason, job.attempts, job.deaths) == ("killed its worker twice: out of memory", 2, 2)
    assert job.finished_at is not None
    moves = ["-> queued", "queued -> running", "running -> queued", "queued -> running", "running -> failed"]
    assert events(job_id) == moves


def test_giving_back_and_restarting_count_as_no_death(database: Database, routed: Routed) -> None:
    job_id = routed()
    for _ in range(3):
        database.jobs.claim("host:1")
        database.jobs.release(job_id, "the daemon was stopped")
        database.jobs.claim("host:1")
        assert database.jobs.recover().jobs == (job_id,)
    job = database.jobs.get(job_id)
    assert (job.state, job.deaths, job.attempts) == (JobState.QUEUED, 0, 6)


def test_a_restart_takes_up_only_what_its_own_host_had_begun(database: Database, routed: Routed) -> None:
    mine, others = routed("1.2"), routed("1.3")
    database.jobs.claim("alpha:100")
    database.jobs.claim("alphabet:100")
    alone = database.file is not None  # a file has one daemon, and a container that is made anew has a new host name
    assert database.jobs.recover("alpha:200").jobs == ((mine, others) if alone else (mine,))
    assert database.jobs.get(others).state is (JobState.QUEUED if alone else JobState.RUNNING)


def test_a_refused_job_says_why_and_may_be_tried_again(database: Database, routed: Routed) -> None:
    job_id = routed()
    database.jobs.claim("host:1")
    database.jobs.refuse(job_id, "the gantry was tilted by 12 degrees")
    assert database.jobs.get(job_id).reason == "the gantry was tilted by 12 degrees"
    assert database.jobs.retry(job_id, "by operator") is JobState.QUEUED
    assert database.jobs.get(job_id).reason is None
    assert database.jobs.claim("host:1") is not None


def test_an_operators_retry_forgives_the_deaths(database: Database, routed: Routed) -> None:
    job_id = routed()
    for _ in range(2):
        database.jobs.claim("host:1")
        database.jobs.worker_lost(job_id, "killed")
    database.jobs.retry(job_id, "more memory now")
    database.jobs.claim("host:1")
    assert database.jobs.worker_lost(job_id, "killed") is JobState.QUEUED


def test_a_queued_job_can_fail_without_having_run(database: Database, routed: Routed) -> None:
    job_id = routed()
    database.jobs.fail(job_id, "model package abdomen-ct is missing")
    assert database.jobs.get(job_id).state is JobState.FAILED
    assert database.jobs.claim("host:1") is None


def test_the_answer_of_a_cancelled_job_is_not_wanted(database: Database, routed: Routed) -> None:
    job_id = routed()
    database.jobs.claim("host:1")
    assert database.jobs.is_running(job_id)
    database.jobs.cancel(job_id, "by operator")
    assert not database.jobs.is_running(job_id)
    with pytest.raises(IllegalMove, match=r"cannot go from cancelled to delivering; so far: .*by operator"):
        database.jobs.finish(job_id, JobOutcome(measurements=(NewMeasurement(subject="", quantity="count", value=1),)))
    assert database.jobs.show(job_id).measurements == ()


def test_unknown_jobs_are_said_to_be_unknown(database: Database) -> None:
    for use in (database.jobs.get, database.jobs.show, lambda job_id: database.jobs.cancel(job_id, "x")):
        with pytest.raises(UnknownJob, match="no job 77"):
            use(77)
    assert not database.jobs.is_running(77)
