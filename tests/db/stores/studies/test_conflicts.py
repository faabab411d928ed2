"""Images that came twice with different content: the first or the last one is used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from db.database import Database
from db.records import AlreadyExists, Created, JobOrder
from db.states import StudyState
from tests.db.conftest import NOON, Images, again

LATER = NOON + timedelta(hours=1)


def test_the_last_or_the_first_of_conflicting_images_can_be_used(
    database: Database, images: Images, routed: Callable[..., int], order: Callable[..., JobOrder]
) -> None:
    routed(number=3)
    second = again(images(2), received_at=LATER)
    third = again(second[:1])
    database.studies.index(second + third)
    assert database.studies.resolve_conflicts("last") == {"1.2": 2}
    study = database.studies.show("1.2")
    assert (study.study.state, study.conflicts) == (StudyState.COMPLETE, ())
    assert study.events[-2].event == "conflicts resolved"
    used = [instance.path for instance in database.studies.contents("1.2").series[0].instances]
    assert sorted(used) == sorted([images(3)[2].path, second[1].path, third[0].path])
    assert isinstance(database.jobs.create("1.2", order(), now=LATER), Created)


def test_the_first_of_conflicting_images_stays_in_use(
    database: Database, images: Images, routed: Callable[..., int], order: Callable[..., JobOrder]
) -> None:
    routed(number=3)
    database.studies.index(again(images(2)) + again(images(1, study="1.5")))
    assert database.studies.resolve_conflicts("first", study_uid="1.2") == {"1.2": 2}
    assert database.studies.conflicts() == []
    assert database.studies.show("1.2").study.state is StudyState.ROUTED
    assert isinstance(database.jobs.create("1.2", order()), AlreadyExists)
    assert database.studies.resolve_conflicts("first") == {}
