from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from db.database import Database
from db.errors import IllegalMove, NothingToResend
from db.states import JobState

Routed = Callable[..., int]
Finish = Callable[..., JobState]
Events = Callable[[int], Sequence[str]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)


def test_a_restart_tries_again_what_was_on_the_wire(
    database: Database, routed: Routed, finish: Finish, due: Callable[..., list[int]]
) -> None:
    job_id = routed(send_to=("pacs", "archive"))
    finish(job_id)
    mine, others = due()
    database.deliveries.start([mine], "alpha:1")
    database.deliveries.start([others], "beta:1")
    expected = [mine] if database.file is None else [mine, others]
    assert sorted(database.jobs.recover("alpha:2", now=LATER).deliveries) == sorted(expected)
    assert sorted(due(LATER)) == sorted(expected)
    assert database.jobs.show(job_id).job.state is JobState.DELIVERING


def test_cancelling_stops_what_is_not_on_the_wire(
    database: Database,
    routed: Routed,
    finish: Finish,
    due: Callable[..., list[int]],
    states: Callable[[int], list[str]],
) -> None:
    job_id = routed()
    finish(job_id, results=3)
    first, second, _ = due()
    database.deliveries.start([first, second])
    database.deliveries.accept(first, 0)
    database.jobs.cancel(job_id, "by operator")
    assert states(job_id) == ["accepted", "sending", "cancelled"]
    assert due() == []
    assert database.deliveries.accept(second, 0) is JobState.CANCELLED
    assert states(job_id) == ["accepted", "accepted", "cancelled"]


def test_what_was_accepted_is_sent_again_when_somebody_asks(
    database: Database,
    routed: Routed,
    finish: Finish,
    due: Callable[..., list[int]],
    states: Callable[[int], list[str]],
) -> None:
    job_id = routed(send_to=("pacs", "archive"))
    finish(job_id, results=2)
    for delivery in due():
        database.deliveries.start([delivery])
        database.deliveries.accept(delivery, 0, now=NOON)
    with pytest.raises(NothingToResend, match="other has accepted no result"):
        database.jobs.resend(job_id, "by hand", destination="other")
    assert database.jobs.get(job_id).state == "done"
    assert database.jobs.resend(job_id, "by hand", destination="pacs", now=LATER) == 2
    assert database.jobs.get(job_id).state == "delivering"
    assert sorted(states(job_id)) == ["accepted", "accepted", "pending", "pending"]
    for delivery in due(LATER):
        database.deliveries.start([delivery])
        database.deliveries.accept(delivery, 0, now=LATER)
    assert database.jobs.get(job_id).state == "done"
    assert database.jobs.resend(job_id, "by hand") == 4


def test_a_job_that_never_had_results_has_nothing_to_send_again(database: Database, routed: Routed) -> None:
    with pytest.raises(IllegalMove):
        database.jobs.resend(routed(), "by hand")
