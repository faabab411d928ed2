"""Which deliveries are due, and in which states those of a job are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from db.database import Database
from db.states import JobState

Routed = Callable[..., int]
Finish = Callable[..., JobState]
Events = Callable[[int], Sequence[str]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)


@pytest.fixture
def due(database: Database) -> Callable[..., list[int]]:
    """Numbers of the deliveries that are due."""

    def ask(now: datetime = NOON, destination: str | None = None) -> list[int]:
        batches = database.deliveries.due(now, destination=destination)
        return [item.id for batch in batches for item in batch.items]

    return ask


@pytest.fixture
def states(database: Database) -> Callable[[int], list[str]]:
    return lambda job_id: [row.state.value for row in database.jobs.show(job_id).deliveries]
