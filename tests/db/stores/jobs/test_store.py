from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.database import Database
from db.digests import inputs_digest
from db.errors import IllegalMove, InputsChanged, UnknownJob, UnknownSeries
from db.records import (
    AlreadyExists,
    Created,
    IndexedInstance,
    JobOrder,
    JobOutcome,
    NewMeasurement,
    NewResult,
    Wish,
)
from db.states import DeliveryState, JobState, Priority, ResultKind

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


BOTH_FORMS = {"kids": Wish("LABELMAP"), "pacs": Wish("BINARY")}


def test_all_jobs_of_a_study_are_made_at_once_and_the_most_urgent_rule_counts(
    database: Database, images: Images, order: Order
) -> None:
    """Of two rules that want the same, the first one's job was claimed before the second one's wishes were added."""
    database.studies.index(images(2))
    orders = [
        order(rule="a", send_to=("kids",), priority=Priority.LOW),
        order(rule="b", send_to=("pacs",), priority=Priority.STAT),
    ]
    with pytest.raises(InputsChanged):
        database.jobs.route_study("1.2", orders, because="not complete", wishes=BOTH_FORMS)
    assert database.jobs.claim("host:1") is None
    database.studies.complete("1.2", "nothing came")
    first, second = database.jobs.route_study("1.2", orders, because="a; b", wishes=BOTH_FORMS)
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
    made = database.jobs.create("1.2", order(rule="b", send_to=("pacs",), priority=Priority.STAT), wishes=BOTH_FORMS)
    assert made == Created(old + 1, superseded=(old,))
    assert not database.jobs.is_running(old)
    job = database.jobs.get(old + 1)
    assert (job.send_to, job.priority, job.rule) == (("kids", "pacs"), Priority.STAT, "liver")
    assert database.jobs.get(old).superseded_by == old + 1
    assert database.jobs.create("1.2", order(send_to=("kids",)), wishes=BOTH_FORMS) == AlreadyExists(
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
    wishes = BOTH_FORMS | {"ward": Wish("LABELMAP", key_images=False)}
    made = database.jobs.create("1.2", order(send_to=("ward",)), wishes=wishes, now=NOON)
    assert made == AlreadyExists(job_id, JobState.FAILED if given_up else JobState.DELIVERING, added=("ward",))
    (batch,) = database.deliveries.due(NOON)
    assert (batch.destination, len(batch.items)) == ("ward", 2)
    assert database.jobs.get(job_id).send_to == ("kids", "ward")


def test_a_form_that_was_never_made_is_made_by_a_job_that_takes_the_old_ones_place(
    database: Database, order: Order, routed: Routed, finish: Finish
) -> None:
    old = routed(send_to=("kids",))
    finish(old, results=forms("LABELMAP"))
    made = database.jobs.create("1.2", order(rule="b", send_to=("pacs",)), wishes=BOTH_FORMS, now=NOON)
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
    with pytest.raises(InputsChanged, match="more came in meanwhile"):
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


def test_unknown_jobs_are_said_to_be_unknown(database: Database) -> None:
    for use in (database.jobs.get, database.jobs.show, lambda job_id: database.jobs.cancel(job_id, "x")):
        with pytest.raises(UnknownJob, match="no job 77"):
            use(77)
    assert not database.jobs.is_running(77)
