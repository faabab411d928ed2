from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db.database import Database
from db.errors import InputsChanged
from db.records import (
    AlreadyExists,
    Created,
    IndexedInstance,
    JobOrder,
    NewResult,
    ResultFormat,
)
from db.states import JobState, Priority, ResultKind

Images = Callable[..., list[IndexedInstance]]
Order = Callable[..., JobOrder]
Routed = Callable[..., int]
Finish = Callable[..., JobState]
Events = Callable[[int], Sequence[str]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
BOTH_FORMS = {"kids": ResultFormat("LABELMAP"), "pacs": ResultFormat("BINARY")}


def test_another_rule_that_wants_the_same_only_adds_its_destination(
    database: Database, order: Order, routed: Routed, finish: Finish, events: Events
) -> None:
    job_id = routed()
    other = order(rule="research", send_to=("pacs", "archive"))
    assert database.jobs.create("1.2", other) == AlreadyExists(job_id, JobState.QUEUED, added=("archive",))
    assert database.jobs.get(job_id).send_to == ("pacs", "archive")
    assert events(job_id) == ["-> queued", "destinations added"]
    finish(job_id)
    third = order(rule="teaching", send_to=("school",))
    made = database.jobs.create("1.2", third, now=NOON)
    assert made == AlreadyExists(job_id, JobState.DELIVERING, added=("school",))
    assert [batch.destination for batch in database.deliveries.due(NOON)] == ["archive", "pacs", "school"]


def test_all_jobs_of_a_study_are_made_at_once_and_the_most_urgent_rule_counts(
    database: Database, images: Images, order: Order
) -> None:
    """Of two rules that want the same, the first one's job was claimed before the second one's formats were added."""
    database.studies.index(images(2))
    orders = [
        order(rule="a", send_to=("kids",), priority=Priority.LOW),
        order(rule="b", send_to=("pacs",), priority=Priority.STAT),
    ]
    with pytest.raises(InputsChanged):
        database.jobs.route_study("1.2", orders, because="not complete", formats=BOTH_FORMS)
    assert database.jobs.claim("host:1") is None
    database.studies.complete("1.2", "nothing came")
    first, second = database.jobs.route_study("1.2", orders, because="a; b", formats=BOTH_FORMS)
    assert isinstance(first, Created)
    assert second == AlreadyExists(first.job_id, JobState.QUEUED, added=("pacs",))
    claimed = database.jobs.claim("host:1")
    assert claimed is not None
    assert (claimed.send_to, claimed.priority) == (("kids", "pacs"), Priority.STAT)
    assert database.studies.show("1.2").study.state == "routed"


def test_a_job_that_runs_makes_room_for_one_that_serves_both(
    database: Database, order: Order, routed: Routed, events: Events
) -> None:
    """What a running job makes was settled when it was claimed."""
    old = routed(send_to=("kids",), priority=Priority.LOW)
    assert database.jobs.claim("host:1")
    made = database.jobs.create("1.2", order(rule="b", send_to=("pacs",), priority=Priority.STAT), formats=BOTH_FORMS)
    assert made == Created(old + 1, superseded=(old,))
    assert not database.jobs.is_running(old)
    job = database.jobs.get(old + 1)
    assert (job.send_to, job.priority, job.rule) == (("kids", "pacs"), Priority.STAT, "liver")
    assert database.jobs.get(old).superseded_by == old + 1
    assert database.jobs.create("1.2", order(send_to=("kids",)), formats=BOTH_FORMS) == AlreadyExists(
        old + 1, JobState.QUEUED
    )


@pytest.mark.parametrize("given_up", [False, True])
def test_whoever_comes_late_gets_what_is_there_in_the_form_that_it_wants(
    database: Database, order: Order, routed: Routed, finish: Finish, given_up: bool
) -> None:
    job_id = routed(send_to=("kids",))
    finish(job_id, results=forms("LABELMAP"))
    (batch,) = database.deliveries.due(NOON)
    database.deliveries.start([item.id for item in batch.items])
    for item in batch.items:
        if given_up:
            database.deliveries.fail(item.id, "no room", 0xA700)
        else:
            database.deliveries.accept(item.id, 0)
    formats = BOTH_FORMS | {"ward": ResultFormat("LABELMAP", key_images=False)}
    made = database.jobs.create("1.2", order(send_to=("ward",)), formats=formats, now=NOON)
    assert made == AlreadyExists(job_id, JobState.FAILED if given_up else JobState.DELIVERING, added=("ward",))
    (batch,) = database.deliveries.due(NOON)
    assert (batch.destination, len(batch.items)) == ("ward", 2)
    assert database.jobs.get(job_id).send_to == ("kids", "ward")


def test_a_form_that_was_never_made_is_made_by_a_job_that_takes_the_old_ones_place(
    database: Database, order: Order, routed: Routed, finish: Finish
) -> None:
    old = routed(send_to=("kids",))
    finish(old, results=forms("LABELMAP"))
    made = database.jobs.create("1.2", order(rule="b", send_to=("pacs",)), formats=BOTH_FORMS, now=NOON)
    assert made == Created(old + 1, superseded=(old,))
    assert database.jobs.get(old + 1).send_to == ("kids", "pacs")  # kids had nothing so far
    assert database.deliveries.due(NOON) == []


def forms(encoding: str) -> tuple[NewResult, ...]:
    """A segmentation and a report in one form, a key image, and a picture."""
    kinds = {
        ResultKind.SEGMENTATION: encoding,
        ResultKind.REPORT: encoding,
        ResultKind.KEY_IMAGE: "",
        ResultKind.OVERLAY: "",
    }
    return tuple(
        NewResult(
            kind=kind,
            name=str(kind),
            path=Path(f"/outbox/{kind}"),
            size=1,
            content_digest="d",
            encoding=form,
            destinations=() if kind is ResultKind.OVERLAY else None,
        )
        for kind, form in kinds.items()
    )
