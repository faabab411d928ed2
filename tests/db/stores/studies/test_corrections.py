"""Studies that are sent again under another identity, and SOP Instance UIDs that are used twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from db.database import Database
from db.records import Created, Indexed, JobOrder
from db.states import JobState, StudyState
from tests.db.conftest import NOON, Images, again

LATER = NOON + timedelta(hours=1)


def test_two_series_that_share_uids_keep_their_images(database: Database, images: Images) -> None:
    first = images(3)
    second = again(first, series_instance_uid="1.2.8")
    assert {outcome.kind for outcome in database.studies.index(first + second)} == {Indexed.NEW}
    assert [series.images for series in database.studies.show("1.2").series] == [3, 3]
    assert database.studies.conflicts() == []


def test_a_study_sent_again_with_another_study_uid_runs_and_the_former_one_says_so(
    database: Database, images: Images, routed: Callable[..., int], order: Callable[..., JobOrder]
) -> None:
    former = routed(number=3)
    corrected = again(images(3), study_instance_uid="1.9", patient_id="P2", received_at=LATER)
    database.studies.index(corrected[:2])
    assert database.studies.show("1.2").study.became is None
    assert {outcome.kind for outcome in database.studies.index(corrected[2:])} == {Indexed.NEW}
    became = "all of its images came again as study 1.9, with another PatientID"
    assert database.studies.show("1.2").study.became == became
    assert (database.studies.show("1.2").events[-1].event, database.studies.show("1.2").events[-1].because) == (
        "sent again",
        became,
    )
    assert database.studies.show("1.9").events[-1].event == "is a study sent again"
    assert database.jobs.find()[1].study.became == became
    made = database.jobs.create("1.9", order("1.9", roles={"ct": "1.2.7"}), now=LATER)
    assert isinstance(made, Created)
    assert len(database.jobs.show(made.job_id).inputs["ct"]) == 3
    assert database.jobs.get(former).state is JobState.QUEUED


def test_a_study_sent_again_with_another_patient_id_runs_again(
    database: Database, images: Images, routed: Callable[..., int], order: Callable[..., JobOrder]
) -> None:
    former = routed(number=3)
    tags = {"PatientID": "P2", "SeriesDescription": "portal venous"}
    corrected = again(images(3), patient_id="P2", received_at=LATER, tags=tags)
    database.studies.index(corrected[:2])
    assert database.studies.show("1.2").study.state is StudyState.ROUTED
    assert len(database.studies.conflicts()) == 2
    database.studies.index(corrected[2:])
    study = database.studies.show("1.2")
    assert (study.study.state, study.study.patient_id, study.study.images) == (StudyState.RECEIVING, "P2", 3)
    assert study.study.became is not None
    assert "another PatientID" in study.study.became
    assert [event.event for event in study.events][-2:] == ["routed -> receiving", "identity corrected"]
    assert study.conflicts == ()
    used = {instance.path for instance in database.studies.contents("1.2").series[0].instances}
    assert used == {item.path for item in corrected}
    database.studies.complete("1.2", "nothing came", now=LATER)
    made = database.jobs.create("1.2", order(), now=LATER)
    assert isinstance(made, Created)
    assert made.superseded == (former,)


def test_half_a_study_with_another_patient_id_stays_a_conflict(database: Database, images: Images) -> None:
    database.studies.index(images(4))
    database.studies.index(again(images(2), patient_id="P2"))
    study = database.studies.show("1.2")
    assert (study.study.patient_id, study.study.became, len(study.conflicts)) == ("P1", None, 2)


def test_the_former_identity_that_comes_once_more_changes_nothing(database: Database, images: Images) -> None:
    database.studies.index(images(2))
    database.studies.index(again(images(2), patient_id="P2"))
    assert {outcome.kind for outcome in database.studies.index(images(2))} == {Indexed.DUPLICATE}
    assert database.studies.show("1.2").study.patient_id == "P2"
