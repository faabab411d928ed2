from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from db.digests import inputs_digest
from db.records import (
    IndexedInstance,
    JobOrder,
)
from db.states import JobState

Images = Callable[..., list[IndexedInstance]]
Order = Callable[..., JobOrder]
Routed = Callable[..., int]
Finish = Callable[..., JobState]
Events = Callable[[int], Sequence[str]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_the_digest_depends_on_roles_images_and_contents_but_not_on_their_order() -> None:
    inputs = [("ct", "1.1", "aa"), ("ct", "1.2", "bb")]
    digest = inputs_digest(inputs)
    assert digest == inputs_digest(reversed(inputs))
    for other in (
        [("mr", "1.1", "aa"), ("ct", "1.2", "bb")],
        [("ct", "1.1", "aa")],
        [("ct", "1.1", "aab"), ("ct", "1.2", "b")],
        [("ct", "1.1", "bb"), ("ct", "1.2", "aa")],
    ):
        assert inputs_digest(other) != digest
