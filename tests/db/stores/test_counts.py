from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from db.database import Database
from db.records import IndexedInstance
from db.states import JobState

Images = Callable[..., list[IndexedInstance]]
Routed = Callable[..., int]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_counts_know_every_state(database: Database, every_state: dict[str, int]) -> None:
    counts = database.counts()
    assert counts.studies == {"receiving": 1, "complete": 0, "routed": 4, "unmatched": 1}
    assert {state: number for state, number in counts.jobs.items() if number} == {
        "queued": 1,
        "running": 1,
        "refused": 1,
        "failed": 1,
    }
    assert set(counts.jobs) == set(JobState)


def test_reasons_are_counted_by_their_codes(database: Database, every_state: dict[str, int]) -> None:
    assert database.reasons() == {
        "failed": {"failed": 1},
        "refused": {"tilted-gantry": 1},
        "unmatched": {"no-rule": 1},
    }
    listed = {line.state.value: line.reason_code for line in database.jobs.find()}
    assert (listed["refused"], listed["unmatched"], listed["queued"]) == ("tilted-gantry", "no-rule", None)
    (event,) = [event for event in database.jobs.show(every_state["refused"]).events if "refused" in event.event]
    assert event.detail["code"] == "tilted-gantry"
    database.jobs.retry(every_state["refused"], "by hand")
    assert database.jobs.get(every_state["refused"]).reason_code is None
