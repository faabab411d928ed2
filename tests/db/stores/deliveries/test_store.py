from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from db.database import Database
from db.errors import IllegalMove, NotServed, UnknownDelivery
from db.records import DeliveryBatch, JobFilter
from db.states import DeliveryState, JobState

Routed = Callable[..., int]
Finish = Callable[..., JobState]
Events = Callable[[int], Sequence[str]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)


def test_what_is_due_comes_by_job_and_destination_the_urgent_first(
    database: Database, routed: Routed, finish: Finish
) -> None:
    routine = routed("1.2", send_to=("pacs", "archive"))
    finish(routine, results=2)
    stat = routed("1.3", priority="stat")
    finish(stat)
    batches = database.deliveries.due(NOON)
    assert [(batch.job_id, batch.destination, len(batch.items)) for batch in batches] == [
        (stat, "pacs", 1),
        (routine, "archive", 2),
        (routine, "pacs", 2),
    ]
    assert all(isinstance(batch, DeliveryBatch) for batch in batches)
    assert (batches[0].study_uid, batches[0].items[0].path.name, batches[0].items[0].attempts) == ("1.3", "seg1.dcm", 0)
    assert [batch.job_id for batch in database.deliveries.due(NOON, destination="archive")] == [routine]
    assert sum(len(batch.items) for batch in database.deliveries.due(NOON, limit=3)) == 3


def test_a_job_is_done_when_its_last_result_is_accepted(
    database: Database, routed: Routed, finish: Finish, events: Events, due: Callable[..., list[int]]
) -> None:
    job_id = routed()
    finish(job_id, results=2)
    first, second = due()
    assert database.deliveries.start([first, second], now=NOON) == (first, second)
    assert due(LATER) == []
    assert database.deliveries.accept(first, 0, now=NOON) is JobState.DELIVERING
    assert database.deliveries.accept(second, 0xB000, now=LATER) is JobState.DONE
    detail = database.jobs.show(job_id)
    assert detail.job.finished_at == LATER
    assert [(row.status, row.attempts, row.sent_at, row.accepted_at) for row in detail.deliveries] == [
        (0, 1, NOON, NOON),
        (0xB000, 1, NOON, LATER),
    ]
    sent = ["pending -> sending", "pending -> sending", "sending -> accepted", "sending -> accepted"]
    assert events(job_id)[2:] == ["running -> delivering", *sent, "delivering -> done"]


def test_what_was_accepted_is_never_started_again(
    database: Database, routed: Routed, finish: Finish, due: Callable[..., list[int]]
) -> None:
    finish(routed())
    (only,) = due()
    assert database.deliveries.start([only]) == (only,)
    assert database.deliveries.start([only]) == ()
    database.deliveries.accept(only, 0)
    assert database.deliveries.start([only]) == ()
    assert database.jobs.recover().deliveries == ()
    with pytest.raises(IllegalMove, match="cannot go from accepted to accepted"):
        database.deliveries.accept(only, 0)


def test_a_destination_that_is_down_is_tried_again_later(
    database: Database, routed: Routed, finish: Finish, due: Callable[..., list[int]]
) -> None:
    job_id = routed()
    finish(job_id)
    (only,) = due()
    database.deliveries.start([only])
    database.deliveries.retry(only, "pacs cannot be reached: connection refused", LATER)
    assert due(NOON) == []
    assert due(LATER) == [only]
    (line,) = database.jobs.find()
    assert (line.state, line.why) == (
        JobState.DELIVERING,
        "pacs: pacs cannot be reached: connection refused (tries: 1)",
    )


def test_a_refusal_fails_the_job_at_once_and_a_retry_sends_only_what_is_missing(
    database: Database,
    routed: Routed,
    finish: Finish,
    due: Callable[..., list[int]],
    states: Callable[[int], list[str]],
) -> None:
    job_id = routed(send_to=("pacs", "archive"))
    finish(job_id, results=2)
    to_pacs, to_archive = due(destination="pacs"), due(destination="archive")
    database.deliveries.start(to_pacs)
    database.deliveries.accept(to_pacs[0], 0)
    assert database.deliveries.fail(to_pacs[1], "refused with status 0xA900", 0xA900) is JobState.FAILED
    assert database.jobs.get(job_id).reason == "pacs did not take 1 of the results: refused with status 0xA900"
    # The other destination still gets what it is to get, and the job stays failed.
    assert due() == to_archive
    database.deliveries.start(to_archive)
    assert database.deliveries.accept(to_archive[0], 0) is JobState.FAILED
    database.deliveries.fail(to_archive[1], "given up", None)
    refused, given_up = "refused with status 0xA900", "given up"
    reason = f"pacs did not take 1 of the results: {refused}; archive did not take 1 of the results: {given_up}"
    assert database.jobs.get(job_id).reason == reason
    assert database.jobs.retry(job_id, "by operator", now=LATER) is JobState.DELIVERING
    missing = due(LATER)
    assert sorted(missing) == sorted([to_pacs[1], to_archive[1]])
    database.deliveries.start(missing)
    database.deliveries.accept(missing[0], 0)
    assert database.deliveries.accept(missing[1], 0) is JobState.DONE
    assert database.jobs.get(job_id).reason is None
    assert states(job_id) == ["accepted"] * 4


def test_a_success_makes_all_that_waits_for_that_destination_due_at_once(
    database: Database, routed: Routed, finish: Finish, due: Callable[..., list[int]]
) -> None:
    far = NOON + timedelta(minutes=15)
    for study in ("1.2", "1.3"):
        finish(routed(study, send_to=("pacs", "archive")))
    waiting = due()
    database.deliveries.start(waiting)
    for delivery in waiting[:3]:
        database.deliveries.retry(delivery, "no answer", far, now=NOON)
    assert due(LATER) == []
    last = waiting[3]
    name = next(row.destination for job in (1, 2) for row in database.jobs.show(job).deliveries if row.id == last)
    database.deliveries.accept(last, 0, now=LATER)
    assert len(due(LATER, name)) == 1
    assert due(LATER) == due(LATER, name)
    assert len(due(far)) == 3


def test_why_something_was_not_delivered_has_a_code(
    database: Database, routed: Routed, finish: Finish, due: Callable[..., list[int]]
) -> None:
    job_id = routed()
    finish(job_id, results=3)
    first, second, third = due()
    database.deliveries.start([first, second, third])
    database.deliveries.retry(first, "no answer within 30 s", LATER, now=NOON)
    database.deliveries.retry(second, "its AE title is not known", LATER, code="peer-refused", now=NOON)
    database.deliveries.fail(third, "out of resources", 0xA700, now=NOON)
    assert [row.reason_code for row in database.jobs.show(job_id).deliveries] == [
        "no-answer",
        "peer-refused",
        "status-a700",
    ]
    assert database.jobs.get(job_id).reason_code == "not-delivered"
    assert [line.job_id for line in database.jobs.find(JobFilter(reason_code="peer-refused"))] == [job_id]
    (pacs,) = database.deliveries.destinations()
    assert (pacs.name, pacs.waiting, pacs.failed, pacs.last_accepted_at) == ("pacs", 2, 1, None)
    assert (pacs.last_error, pacs.reason_code) == ("out of resources", "status-a700")
    database.deliveries.start([first], now=LATER)
    database.deliveries.accept(first, 0, now=LATER)
    (pacs,) = database.deliveries.destinations()
    assert (pacs.waiting, pacs.last_accepted_at) == (1, LATER)


def test_unknown_deliveries_are_said_to_be_unknown(database: Database) -> None:
    assert database.deliveries.start([77]) == ()
    with pytest.raises(UnknownDelivery, match="no delivery 77"):
        database.deliveries.accept(77, 0)
    assert database.counts().deliveries[DeliveryState.PENDING] == 0


# Destinations that are gone, and destinations that are dropped


def two_destinations(database: Database, routed: Routed, finish: Finish) -> tuple[int, int, int]:
    """A job that goes to two destinations; returns it and its deliveries to each."""
    job_id = routed(send_to=("pacs", "old"))
    finish(job_id)
    due = {batch.destination: batch.items[0].id for batch in database.deliveries.due(NOON)}
    return job_id, due["pacs"], due["old"]


def accept(database: Database, delivery_id: int) -> JobState:
    database.deliveries.start([delivery_id])
    return database.deliveries.accept(delivery_id, 0)


def test_a_delivery_to_a_destination_that_is_not_configured_any_more_fails_with_that_reason(
    database: Database, routed: Routed, finish: Finish
) -> None:
    job_id, to_pacs, _ = two_destinations(database, routed, finish)
    accept(database, to_pacs)
    for _ in range(2):
        assert database.deliveries.fail_unconfigured(["pacs"]) == (job_id,)
        job = database.jobs.get(job_id)
        assert job.state is JobState.FAILED
        assert "old is not among the configured destinations any more" in (job.reason or "")
        assert database.jobs.retry(job_id, "by hand") is JobState.DELIVERING
    database.deliveries.fail_unconfigured(["pacs"])
    assert database.deliveries.fail_unconfigured(["pacs"]) == ()
    assert [row.state for row in database.jobs.show(job_id).deliveries] == ["accepted", "failed"]


@pytest.mark.parametrize("failed", [False, True])
def test_a_destination_that_is_dropped_leaves_a_job_that_is_done(
    database: Database, routed: Routed, finish: Finish, failed: bool
) -> None:
    job_id, to_pacs, _ = two_destinations(database, routed, finish)
    if failed:
        database.deliveries.fail_unconfigured(["pacs"])
    accept(database, to_pacs)
    assert database.deliveries.drop_destination(job_id, "old", "by hand") is JobState.DONE
    detail = database.jobs.show(job_id)
    assert (detail.job.send_to, detail.job.reason) == (("pacs",), None)
    assert [row.state for row in detail.deliveries] == ["accepted", "cancelled"]
    with pytest.raises(NotServed, match=r"does not go to old; it goes to pacs"):
        database.deliveries.drop_destination(job_id, "old", "by hand")


def test_the_others_get_what_they_are_to_get_after_a_destination_was_dropped(
    database: Database, routed: Routed, finish: Finish
) -> None:
    job_id, to_pacs, _ = two_destinations(database, routed, finish)
    database.deliveries.fail_unconfigured(["pacs"])
    assert database.deliveries.drop_destination(job_id, "old", "by hand") is JobState.DELIVERING
    assert accept(database, to_pacs) is JobState.DONE


def test_what_was_being_sent_to_a_dropped_destination_is_not_sent_again(
    database: Database, routed: Routed, finish: Finish
) -> None:
    job_id, to_pacs, to_old = two_destinations(database, routed, finish)
    accept(database, to_pacs)
    database.deliveries.start([to_old])
    assert database.deliveries.drop_destination(job_id, "old", "by hand") is JobState.DELIVERING
    database.deliveries.retry(to_old, "nobody there", NOON)
    assert database.jobs.get(job_id).state is JobState.DONE
    assert [row.state for row in database.jobs.show(job_id).deliveries] == ["accepted", "cancelled"]


def test_a_job_that_is_cancelled_when_one_destination_has_it_is_done_and_says_who_has_not(
    database: Database, routed: Routed, finish: Finish
) -> None:
    job_id, to_pacs, _ = two_destinations(database, routed, finish)
    accept(database, to_pacs)
    assert database.jobs.cancel(job_id, "by hand") is JobState.DONE
    assert database.jobs.get(job_id).reason == "cancelled for old; pacs had it already: by hand"
    assert database.deliveries.due(NOON) == []


def test_a_delivery_that_is_given_back_was_no_try(database: Database, routed: Routed, finish: Finish) -> None:
    _, to_pacs, _ = two_destinations(database, routed, finish)
    database.deliveries.start([to_pacs])
    database.deliveries.release(to_pacs, "the daemon was stopped", now=NOON)
    items = {item.id: item.attempts for batch in database.deliveries.due(NOON) for item in batch.items}
    assert items[to_pacs] == 0


def test_an_accepted_delivery_tells_what_the_destination_remarked(
    database: Database, routed: Routed, finish: Finish
) -> None:
    job_id, to_pacs, _ = two_destinations(database, routed, finish)
    database.deliveries.start([to_pacs])
    database.deliveries.accept(to_pacs, 0x0111, "it has this instance already")
    told = [event.because for event in database.jobs.show(job_id).events if event.delivery_id == to_pacs]
    assert told[-1] == "accepted: it has this instance already"
