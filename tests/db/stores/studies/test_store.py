from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.database import Database
from db.errors import IllegalMove, UnknownStudy
from db.records import AssociationRow, Completable, IndexedInstance
from db.states import AssociationEnd, StudyState

Images = Callable[..., list[IndexedInstance]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
QUIET = timedelta(seconds=30)


def ended(uid: str, how: AssociationEnd = AssociationEnd.RELEASED) -> AssociationRow:
    return AssociationRow(
        association_id=uid,
        calling_ae="CT1",
        called_ae="SCANWARD",
        peer_host="10.0.0.7",
        opened_at=NOON,
        closed_at=NOON,
        how=how,
        files=1,
    )


def test_a_study_is_complete_when_nothing_came_for_the_quiet_period(database: Database, images: Images) -> None:
    database.studies.index(images(1) + images(1, study="1.3", received_at=NOON + timedelta(seconds=10)))
    ask = database.studies.to_complete
    assert ask(NOON + timedelta(seconds=29), QUIET) == []
    assert ask(NOON + QUIET, QUIET) == [Completable("1.2", "nothing came for 30 s")]
    assert [found.study_uid for found in ask(NOON + 2 * QUIET, QUIET)] == ["1.2", "1.3"]


def test_images_that_come_twice_prolong_the_wait(database: Database, images: Images) -> None:
    database.studies.index(images(1))
    database.studies.index(images(1, received_at=NOON + timedelta(seconds=20)))
    assert database.studies.to_complete(NOON + QUIET, QUIET) == []


@pytest.mark.parametrize(
    ("ends", "complete"),
    [
        ([], False),
        ([ended("a1")], False),
        ([ended("a1"), ended("a2")], True),
        ([ended("a1"), ended("a2", AssociationEnd.ABORTED)], False),
        ([ended("a1"), ended("a2", AssociationEnd.LOST)], False),
    ],
)
def test_a_study_whose_associations_were_all_released_waits_less(
    database: Database, images: Images, ends: list[AssociationRow], complete: bool
) -> None:
    database.studies.index(images(1, association_id="a1") + images(1, first=2, association_id="a2"))
    for end in ends:
        database.studies.record_association(end)
    soon = timedelta(seconds=2)
    found = database.studies.to_complete(NOON + soon, QUIET, soon)
    assert found == ([Completable("1.2", "every association was released")] if complete else [])
    assert database.studies.to_complete(NOON + soon, QUIET) == []


def test_a_folder_is_never_released(database: Database, images: Images) -> None:
    database.studies.index(images(1, association_id=None))
    assert database.studies.to_complete(NOON + timedelta(seconds=5), QUIET, timedelta(seconds=2)) == []


def test_a_complete_study_waits_for_the_rules(database: Database, images: Images) -> None:
    database.studies.index(images(2) + images(1, study="1.3"))
    assert database.studies.complete("1.2", "nothing came for 30 s", now=NOON)
    assert not database.studies.complete("1.2", "again", now=NOON)
    assert database.studies.to_route() == ["1.2"]
    assert database.studies.set_routed("1.2", "liver -> abdomen-ct", now=NOON)
    detail = database.studies.show("1.2")
    assert (detail.study.state, detail.study.completed_because) == (StudyState.ROUTED, "nothing came for 30 s")
    assert [(event.event, event.because) for event in detail.events][1:] == [
        ("receiving -> complete", "nothing came for 30 s"),
        ("complete -> routed", "liver -> abdomen-ct"),
    ]


def test_an_unmatched_study_says_why_and_may_be_put_before_the_rules_again(database: Database, images: Images) -> None:
    database.studies.index(images(2))
    database.studies.complete("1.2", "quiet")
    reasons = ["liver: SliceThickness is 8.0, more than 5", "glioma: Modality is CT, not MR"]
    assert database.studies.set_unmatched("1.2", reasons)
    assert database.studies.show("1.2").study.reasons == tuple(reasons)
    database.studies.reroute("1.2", "the rules have changed")
    assert database.studies.to_route() == ["1.2"]
    database.studies.set_routed("1.2", "liver -> abdomen-ct")
    assert database.studies.show("1.2").study.reasons == ()


def test_images_that_come_between_complete_and_the_rules_win(database: Database, images: Images) -> None:
    database.studies.index(images(1))
    database.studies.complete("1.2", "quiet")
    database.studies.index(images(1, first=2))
    assert not database.studies.set_unmatched("1.2", ["no rule"])
    assert not database.studies.set_routed("1.2", "liver")
    assert database.studies.show("1.2").study.state is StudyState.RECEIVING
    with pytest.raises(IllegalMove, match="cannot go from complete to complete"):
        _reroute_completed(database)


def _reroute_completed(database: Database) -> None:
    database.studies.complete("1.2", "quiet")
    database.studies.reroute("1.2", "the rules have changed")


def test_unknown_studies_are_said_to_be_unknown(database: Database) -> None:
    for use in (database.studies.contents, database.studies.show):
        with pytest.raises(UnknownStudy, match=r"no study 9\.9"):
            use("9.9")
    with pytest.raises(UnknownStudy):
        database.studies.complete("9.9", "quiet")


def test_facts_are_all_that_routing_needs(database: Database, images: Images) -> None:
    enhanced = images(
        1, series_instance_uid="1.2.8", frames=40, tags={"Modality": "MR"}, source_ae="MR1", modality="MR"
    )
    database.studies.index(images(2) + enhanced)
    facts = database.studies.contents("1.2")
    assert facts.study.study_instance_uid == "1.2"
    assert facts.tags == {"StudyDescription": "Abdomen"}
    ct, mr = facts.series
    assert (ct.series_instance_uid, ct.images, ct.source_ae) == ("1.2.7", 2, "CT1")
    assert ct.tags["SliceThickness"] == 2.5
    assert [tags["InstanceNumber"] for tags in ct.instance_tags] == [1, 2]
    assert ct.paths == (Path("/spool/studies/1.2/1.2.7/1.content.dcm"), Path("/spool/studies/1.2/1.2.7/2.content.dcm"))
    assert (mr.images, mr.source_ae, mr.modality) == (40, "MR1", "MR")
