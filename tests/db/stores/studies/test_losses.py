"""What came and could not be used, tied to its study by what is known of it."""

from __future__ import annotations

import datetime as dt
from typing import Any

from db.database import Database
from db.records import JobFilter, LossRow
from db.states import LossKind
from tests.db.conftest import NOON, Images


def lost(receipt: str = "r1", **changes: Any) -> LossRow:
    values: dict[str, Any] = {
        "receipt": receipt,
        "kind": LossKind.CUT_OFF,
        "study_instance_uid": "1.2",
        "series_instance_uid": "1.2.7",
        "sop_instance_uid": f"1.2.7.9{receipt}",
        "association_id": None,
        "source_ae": "CT1",
        "number": "9",
        "position": (0.0, 0.0, 22.5),
        "reason": "is cut off",
        "file": "x.dcm",
        "lost_at": NOON,
    }
    return LossRow(**(values | changes))


def receipts(database: Database, study: str = "1.2") -> list[str]:
    return [one.receipt for one in database.studies.lost_images(study)]


def test_a_loss_is_written_down_once_and_shows_with_its_study(database: Database, images: Images) -> None:
    assert database.studies.record_lost([lost()]) == 1  # before anything of the study has come
    assert database.studies.record_lost([lost(), lost("r2")]) == 1
    assert database.studies.count_lost() == (0, 2)
    database.studies.index(images(2))
    (first, _) = database.studies.lost_images("1.2")
    assert first == lost()
    (row,) = database.jobs.find(JobFilter())
    assert row.lost == 2
    assert database.studies.count_lost() == (2, 0)


def test_what_is_known_of_it_ties_a_loss_to_its_study(database: Database, images: Images) -> None:
    database.studies.index(images(2, association_id="a1"))
    database.studies.index(images(2, study="1.3", association_id="a2"))
    nothing = {"study_instance_uid": "", "series_instance_uid": "", "sop_instance_uid": ""}
    database.studies.record_lost(
        [
            lost("by series", study_instance_uid=""),
            lost("by association", **nothing, association_id="a1"),
            lost("by nothing", **nothing),
            lost("of another", study_instance_uid="1.9"),
            lost("study before association", study_instance_uid="1.3", association_id="a1"),
        ]
    )
    assert receipts(database) == ["by series", "by association"]
    assert receipts(database, "1.3") == ["study before association"]
    assert database.studies.count_lost() == (3, 2)


def test_an_image_that_comes_again_whole_is_lost_no_more(database: Database, images: Images) -> None:
    database.studies.index(images(2))
    database.studies.record_lost(
        [lost(sop_instance_uid="1.2.7.3"), lost("again", sop_instance_uid="1.2.7.3"), lost("other")]
    )
    assert receipts(database) == ["again", "other"]
    database.studies.index(images(1, first=3))
    assert receipts(database) == ["other"]
    assert database.jobs.find(JobFilter())[0].lost == 1


def test_a_study_that_is_received_waits_for_what_may_still_come(database: Database, images: Images) -> None:
    database.studies.index(images(2))
    database.studies.record_lost([lost(lost_at=NOON + dt.timedelta(seconds=20))])
    quiet = dt.timedelta(seconds=30)
    assert database.studies.to_complete(NOON + dt.timedelta(seconds=40), quiet) == []
    assert [one.study_uid for one in database.studies.to_complete(NOON + dt.timedelta(seconds=50), quiet)] == ["1.2"]


def test_a_second_image_of_a_uid_is_lost_where_it_lies_elsewhere(database: Database, images: Images) -> None:
    (first,) = images(1)
    elsewhere = {"ImagePositionPatient": [0.0, 0.0, 99.0], "InstanceNumber": 40}
    database.studies.index([first])
    database.studies.index(images(1, digest="a second version"))
    assert receipts(database) == []
    database.studies.index(images(1, digest="another slice", instance_tags=elsewhere))
    (found,) = database.studies.lost_images("1.2")
    assert (found.kind, found.number, found.position) == (LossKind.CONFLICTING, "40", (0.0, 0.0, 99.0))


def test_values_of_damaged_headers_are_bounded(database: Database) -> None:
    database.studies.record_lost([lost(source_ae="A" * 99, number="9" * 400, sop_instance_uid="1" * 5000)])
    assert database.studies.count_lost() == (0, 1)
