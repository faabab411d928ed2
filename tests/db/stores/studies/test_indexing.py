from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from db.database import Database
from db.errors import NaiveTimestamp
from db.records import AssociationRow, Indexed, IndexedInstance
from db.states import AssociationEnd, Origin, StudyState
from db.tables import METADATA

Images = Callable[..., list[IndexedInstance]]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_images_make_their_study_and_series(database: Database, images: Images) -> None:
    outcomes = database.studies.index(images(3))
    assert [outcome.kind for outcome in outcomes] == [Indexed.NEW] * 3
    assert all(outcome.keep for outcome in outcomes)
    detail = database.studies.show("1.2")
    assert (detail.study.state, detail.study.images, detail.study.patient_id) == (StudyState.RECEIVING, 3, "P1")
    assert (detail.study.description, detail.study.first_received_at) == ("Abdomen", NOON)
    assert [(row.modality, row.description, row.images) for row in detail.series] == [("CT", "portal venous", 3)]
    assert [event.event for event in detail.events] == ["-> receiving"]


def test_no_images_are_no_error(database: Database) -> None:
    assert database.studies.index([]) == []


def test_the_same_image_twice_is_one(database: Database, images: Images) -> None:
    database.studies.index(images(2))
    again = database.studies.index(images(2, path=Path("/spool/incoming/again.dcm")))
    assert [outcome.kind for outcome in again] == [Indexed.DUPLICATE] * 2
    assert not any(outcome.keep for outcome in again)
    assert again[0].path == images(1)[0].path
    assert database.studies.show("1.2").study.images == 2


def test_a_file_that_is_indexed_twice_must_stay(database: Database, images: Images) -> None:
    database.studies.index(images(1))
    (outcome,) = database.studies.index(images(1))
    assert (outcome.kind, outcome.keep) == (Indexed.DUPLICATE, True)


def test_two_copies_in_one_batch_are_one(database: Database, images: Images) -> None:
    copies = images(1) + images(1, path=Path("/spool/other.dcm"))
    assert [outcome.kind for outcome in database.studies.index(copies)] == [Indexed.NEW, Indexed.DUPLICATE]
    assert database.studies.show("1.2").study.images == 1


def test_the_same_uid_with_other_content_is_kept_and_shown(database: Database, images: Images) -> None:
    database.studies.index(images(2))
    later = NOON + timedelta(minutes=1)
    outcomes = database.studies.index(images(1, digest="other", received_at=later, source_ae="CT2"))
    assert [(outcome.kind, outcome.keep) for outcome in outcomes] == [(Indexed.CONFLICT, True)]
    (conflict,) = database.studies.conflicts()
    assert (conflict.kept, conflict.other) == (images(1)[0].path, images(1, digest="other")[0].path)
    assert (conflict.source_ae, conflict.received_at, conflict.patient_id) == ("CT2", later, "P1")
    detail = database.studies.show("1.2")
    assert (detail.study.images, detail.conflicts) == (2, (conflict,))
    assert [event.event for event in detail.events] == ["-> receiving", "conflict"]
    assert detail.events[1].detail == {"images": 1, "sop_instance_uids": ["1.2.7.1"]}
    assert [line.conflicts for line in database.jobs.find()] == [1]
    assert len(database.studies.contents("1.2").series[0].instances) == 2
    assert database.studies.conflicts(since=later + timedelta(seconds=1)) == []


def test_a_conflict_that_comes_again_is_a_duplicate(database: Database, images: Images) -> None:
    database.studies.index(images(1))
    database.studies.index(images(1, digest="other"))
    (outcome,) = database.studies.index(images(1, digest="other", path=Path("/third.dcm")))
    assert (outcome.kind, outcome.keep) == (Indexed.DUPLICATE, False)


def test_late_images_lead_back_to_receiving_and_repeated_ones_do_not(
    database: Database, images: Images, routed: Callable[..., int]
) -> None:
    routed()
    database.studies.index(images(2, received_at=NOON + timedelta(hours=1)))
    assert database.studies.show("1.2").study.state is StudyState.ROUTED
    late = NOON + timedelta(hours=2)
    database.studies.index(images(1, first=3, received_at=late))
    detail = database.studies.show("1.2")
    assert (detail.study.state, detail.study.last_received_at) == (StudyState.RECEIVING, late)
    assert (detail.events[-1].event, detail.events[-1].because) == ("routed -> receiving", "late images")
    assert detail.events[-1].at == late


def test_one_series_uid_in_two_studies_loses_nothing(database: Database, images: Images) -> None:
    reused = images(1, study="1.3", series_instance_uid="1.2.7", sop_instance_uid="1.3.1", digest="x")
    database.studies.index(images(1) + reused)
    assert [database.studies.show(uid).series[0].images for uid in ("1.2", "1.3")] == [1, 1]


def test_what_the_first_image_does_not_tell_a_later_one_may(database: Database, images: Images) -> None:
    bare = images(1, patient_id="", accession_number="", study_date="", tags={"StudyDescription": ""})
    database.studies.index(bare)
    database.studies.index(images(1, first=2, tags={"StudyDescription": "Abdomen", "PatientSex": "F"}))
    study = database.studies.contents("1.2")
    assert (study.study.patient_id, study.study.description) == ("P1", "Abdomen")
    assert study.tags == {"StudyDescription": "Abdomen", "PatientSex": "F"}


def test_what_databases_cannot_store_costs_no_image_its_row(database: Database, images: Images) -> None:
    tags: dict[str, Any] = {
        "StudyDescription": "a\x00b\udcff",
        "Slope": math.nan,
        "Values": (1, math.inf),
        "Umlaut": "ü",
    }
    database.studies.index(images(1, tags=tags, patient_id="P\x001", instance_tags={"EchoTime": -math.inf}))
    facts = database.studies.contents("1.2")
    assert (facts.study.patient_id, facts.study.description) == ("P1", "ab?")
    assert facts.series[0].tags == {"StudyDescription": "ab?", "Slope": None, "Values": [1, None], "Umlaut": "ü"}


def test_no_personal_attribute_reaches_the_disk(tmp_path: Path, images: Images) -> None:
    database = Database(f"sqlite:///{tmp_path}/scanward.sqlite")
    database.upgrade()
    person = {"PatientName": "Doe^Jane", "PatientBirthDate": "19700101", "ReferringPhysicianName": "House^G"}
    database.studies.index(images(1, tags=person | {"Modality": "CT"}, instance_tags=person))
    database.close()
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"1.2.7.1" in written
    assert not any(value.encode() in written for value in person.values())


def test_no_table_has_a_column_for_a_name() -> None:
    columns = [str(column) for table in METADATA.tables.values() for column in table.columns]
    assert not [name for name in columns if "patient" in name and not name.endswith(".patient_id")]


def test_times_come_back_as_they_were_whatever_their_zone(database: Database, images: Images) -> None:
    tokyo = datetime.fromisoformat("2026-11-20T21:00:00.123456+09:00")
    database.studies.index(images(1, received_at=tokyo))
    received = database.studies.show("1.2").study.first_received_at
    assert received == tokyo
    assert received.tzinfo is UTC


def test_a_time_without_a_zone_is_refused(database: Database, images: Images) -> None:
    with pytest.raises(NaiveTimestamp, match="has no time zone"):
        database.studies.index(images(1, received_at=NOON.replace(tzinfo=None)) + images(1, first=2))
    assert database.jobs.find() == []


def test_an_association_is_recorded_once(database: Database, images: Images) -> None:
    database.studies.index(images(2) + images(1, first=3, association_id="a2", source_ae="CT9"))
    ended = AssociationRow(
        association_id="a1",
        calling_ae="CT1",
        called_ae="SCANWARD",
        peer_host="10.0.0.7",
        opened_at=NOON,
        closed_at=NOON + timedelta(seconds=3),
        how=AssociationEnd.RELEASED,
        files=2,
    )
    assert database.studies.record_association(ended)
    assert not database.studies.record_association(ended)
    known, lost = database.studies.show("1.2").associations
    assert known == ended
    assert (lost.association_id, lost.calling_ae, lost.how, lost.files) == ("a2", "CT9", None, 1)


def test_paths_can_be_asked_for_and_moved(database: Database, images: Images) -> None:
    batch = images(1100)
    database.studies.index(batch)
    strange = [Path("/spool/a.dcm"), Path("/spool/b.dcm")]
    assert database.studies.paths_without_row([strange[0], *(item.path for item in batch), strange[1]]) == strange
    database.studies.relocate(batch[0].path, strange[0])
    assert database.studies.paths_without_row(strange) == strange[1:]
    assert (
        database.studies.known_paths("1.2")
        == database.studies.known_paths()
        == {strange[0], *(item.path for item in batch[1:])}
    )
    assert database.studies.known_paths("9.9") == set()


def test_images_say_how_they_came(database: Database, images: Images) -> None:
    database.studies.index(images(1, origin=Origin.WATCHER, association_id=None))
    with database.read() as session:
        assert session.scalar(text("SELECT origin FROM instance")) == "watcher"


def test_two_thousand_unrelated_files_are_two_thousand_studies(database: Database, images: Images) -> None:
    batch = [image for number in range(2000) for image in images(1, study=f"1.{number}")]
    assert {outcome.kind for outcome in database.studies.index(batch)} == {Indexed.NEW}
    assert database.counts().studies[StudyState.RECEIVING] == 2000


def test_a_batch_costs_far_less_than_its_images_one_by_one(tmp_path: Path, images: Images) -> None:
    tags = {f"Keyword{number}": "a value of usual length" for number in range(60)}
    database = Database(f"sqlite:///{tmp_path}/scanward.sqlite")
    database.upgrade()
    batches, singles = [], []
    for number in range(3):
        start = time.perf_counter()
        database.studies.index(images(300, study=f"1.{number}", tags=tags))
        batches.append(time.perf_counter() - start)
        one_by_one = images(30, study=f"2.{number}", tags=tags)
        start = time.perf_counter()
        for image in one_by_one:
            database.studies.index([image])
        singles.append((time.perf_counter() - start) * 10)
    database.close()
    assert min(batches) * 3 < min(singles)
