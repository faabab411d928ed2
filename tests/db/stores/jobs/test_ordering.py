from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from db.database import Database
from db.digests import inputs_digest
from db.errors import InputsChanged, UnknownSeries
from db.records import (
    AlreadyExists,
    Created,
    IndexedInstance,
    JobOrder,
    JobOutcome,
)
from db.states import JobState

Images = Callable[..., list[IndexedInstance]]
Order = Callable[..., JobOrder]
Routed = Callable[..., int]
Finish = Callable[..., JobState]
Events = Callable[[int], Sequence[str]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_a_job_works_on_the_images_that_were_there_when_it_was_made(
    database: Database, images: Images, routed: Routed
) -> None:
    job_id = routed(number=2)
    database.studies.index(images(1, first=3))
    claimed = database.jobs.claim("host:1", NOON)
    assert claimed is not None
    assert [file.path for file in claimed.inputs["ct"]] == [image.path for image in images(2)]
    assert claimed.inputs_digest == inputs_digest(
        ("ct", image.sop_instance_uid, image.content_digest) for image in images(2)
    )
    assert (claimed.id, claimed.state, claimed.worker, claimed.attempts) == (job_id, JobState.RUNNING, "host:1", 1)
    assert (claimed.study_uid, claimed.send_to, claimed.roles) == ("1.2", ("pacs",), {"ct": "1.2.7"})


def test_the_same_study_sent_twice_makes_no_second_job(
    database: Database, images: Images, order: Order, routed: Routed
) -> None:
    job_id = routed()
    database.studies.index(images(2))
    assert database.jobs.create("1.2", order()) == AlreadyExists(job_id, JobState.QUEUED)
    assert isinstance(database.jobs.create("1.2", order(model_digest="m2")), Created)


def test_a_cancelled_job_can_be_asked_for_again(database: Database, order: Order, routed: Routed) -> None:
    job_id = routed()
    database.jobs.cancel(job_id, "by operator")
    made = database.jobs.create("1.2", order())
    assert isinstance(made, Created)
    assert made.job_id != job_id


def test_no_job_is_made_over_other_images_than_it_was_decided_on(
    database: Database, images: Images, order: Order
) -> None:
    database.studies.index(images(2))
    decided = inputs_digest(("ct", image.sop_instance_uid, image.content_digest) for image in images(2))
    database.studies.index(images(1, first=3))
    with pytest.raises(InputsChanged, match="arrived after this job was decided on"):
        database.jobs.create("1.2", order(inputs_digest=decided))
    with pytest.raises(UnknownSeries, match=r"no image of series 8\.8"):
        database.jobs.create("1.2", order(roles={"ct": "8.8"}))
    assert database.counts().jobs[JobState.QUEUED] == 0


def test_a_larger_set_supersedes_what_was_made_of_the_smaller_one(
    database: Database, images: Images, order: Order, routed: Routed, finish: Finish
) -> None:
    old = routed()
    finish(old, results=3)
    first, second, _third = (item.id for batch in database.deliveries.due(NOON) for item in batch.items)
    database.deliveries.start([first, second])
    database.deliveries.accept(first, 0)
    database.studies.index(images(1, first=3))
    made = database.jobs.create("1.2", order(), now=NOON)
    assert isinstance(made, Created)
    assert made.superseded == (old,)
    detail = database.jobs.show(old)
    assert (detail.job.state, detail.job.superseded_by) == (JobState.SUPERSEDED, made.job_id)
    assert [row.state for row in detail.deliveries] == ["accepted", "sending", "cancelled"]
    # The one on the wire ends as it ends.
    assert database.deliveries.accept(second, 0) is JobState.SUPERSEDED
    assert [row.state for row in database.jobs.show(old).deliveries] == ["accepted", "accepted", "cancelled"]
    assert database.deliveries.due(NOON) == []


def test_a_job_that_was_superseded_says_what_the_new_one_has(
    database: Database, images: Images, order: Order, routed: Routed
) -> None:
    def why(job_id: int) -> str:
        return database.jobs.show(job_id).events[-1].because

    first = routed()
    second = database.jobs.create("1.2", order(model_digest="m2")).job_id
    assert why(first) == f"job {second} with other models"
    database.studies.index(images(1, first=9))
    third = database.jobs.create("1.2", order(model_digest="m2")).job_id
    assert why(second) == f"job {third} over a newer set of images"
    database.studies.index(images(1, first=1, series_instance_uid="1.2.8"))
    fourth = database.jobs.create("1.2", order(model_digest="m3", roles={"ct": "1.2.8"})).job_id
    assert why(third) == f"job {fourth} over other series and with other models"


@pytest.mark.parametrize("state", ["queued", "running", "done", "failed", "refused"])
def test_whatever_became_of_it_a_job_is_superseded(
    database: Database, images: Images, order: Order, routed: Routed, state: str
) -> None:
    old = routed(send_to=())
    if state != "queued":
        database.jobs.claim("host:1", NOON)
    match state:
        case "done":
            database.jobs.finish(old, JobOutcome())
        case "failed":
            database.jobs.fail(old, "why")
        case "refused":
            database.jobs.refuse(old, "why")
    assert database.jobs.get(old).state == state
    database.studies.index(images(1, first=3))
    assert database.jobs.create("1.2", order()) == Created(old + 1, superseded=(old,))
    assert not database.jobs.is_running(old)


def test_other_rules_and_pipelines_are_not_superseded(database: Database, order: Order, routed: Routed) -> None:
    routed()
    for other in (order(rule="other", model_digest="m2"), order(pipeline="brain-mr")):
        made = database.jobs.create("1.2", other)
        assert isinstance(made, Created)
        assert made.superseded == ()
