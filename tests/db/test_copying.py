from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from db.copying import copy
from db.database import Database
from db.errors import CopyDiffers, DatabaseInUse, DatabaseNotEmpty
from db.records import JobFilter, JobOutcome, LossRow, NewMeasurement, NewResult
from db.states import JobState, LossKind, ResultKind
from db.tables import METADATA, Job
from tests.db.conftest import NOON, Images


@pytest.fixture
def full(database: Database, routed: Callable[..., int], images: Images) -> Database:
    """A database with rows in every table but one, and a job that is superseded by a later one."""
    database.installation.belong_to("1234", "/var/lib/scanward", "host")
    lost = {"study_instance_uid": "1.2", "series_instance_uid": "1.2.7", "sop_instance_uid": "1.2.7.99"}
    database.studies.record_lost(
        [
            LossRow(
                receipt="a1-1",
                kind=LossKind.CUT_OFF,
                **lost,
                association_id="a1",
                source_ae="CT1",
                number="1",
                position=(0.0, 0.5, -3.0),
                reason="it is cut off",
                file="x.dcm",
                lost_at=NOON,
            )
        ]
    )
    first = routed()
    database.studies.index(images(1, first=9, received_at=NOON + timedelta(seconds=1)))
    second = routed(number=1)
    assert database.jobs.get(first).state is JobState.SUPERSEDED
    database.jobs.claim("host:1")
    figures = (NewMeasurement(subject="", quantity="Volume", value=1e300, unit="ml", tracking_uid="", label="x"),)
    result = NewResult(
        kind=ResultKind.SEGMENTATION,
        name="seg.dcm",
        path=Path("/outbox/1/seg.dcm"),
        size=10,
        content_digest="d",
        sop_class_uid="1.2",
        sop_instance_uid="1.2.3",
        series_instance_uid="1.2.4",
    )
    outcome = JobOutcome(
        results=(result,), measurements=figures, models={"a": "b"}, timings={"infer": 0.1, "load": 1.0}
    )
    database.jobs.finish(second, outcome)
    return database


@pytest.fixture(params=["to sqlite", "to postgresql"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "to sqlite":
        url = f"sqlite:///{tmp_path}/other.sqlite"
    else:
        url = request.getfixturevalue("cluster").new_database()
    with closing(Database(url)) as database:
        database.upgrade()
        yield database


def rows(database: Database) -> dict[str, int]:
    with database.read() as session:
        return {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in METADATA.sorted_tables
        }


def test_a_copy_holds_all_that_the_other_held(full: Database, other: Database) -> None:
    told: dict[str, int] = {}
    copy(full, other, lambda table: told.update({table.name: table.rows}))
    assert told == rows(full) == rows(other)
    assert min(count for name, count in told.items() if name != "association") > 0
    for job in (1, 2):
        assert other.jobs.show(job) == full.jobs.show(job)
    assert other.jobs.find(JobFilter()) == full.jobs.find(JobFilter())
    assert other.installation.side() == full.installation.side()


def test_a_number_that_was_given_is_not_given_again(
    full: Database, other: Database, images: Images, order: Callable[..., object]
) -> None:
    with full.write() as session:
        session.add(
            Job(
                study_id=1,
                rule="r",
                pipeline="p",
                priority="low",
                roles={},
                send_to=[],
                inputs_digest="x",
                model_digest="y",
                created_at=NOON,
                updated_at=NOON,
            )
        )
        session.flush()
        session.execute(text("DELETE FROM job WHERE id = 3"))
    copy(full, other)
    other.studies.index(images(1, study="1.9"))
    made = other.jobs.create("1.9", order("1.9"))  # type: ignore[arg-type]
    assert made.job_id == 4


def test_only_into_an_empty_database(full: Database, other: Database, images: Images) -> None:
    other.studies.index(images(1))
    before = rows(other)
    with pytest.raises(DatabaseNotEmpty, match="already holds rows in table study"):
        copy(full, other)
    assert rows(other) == before


def test_a_copy_that_reads_otherwise_is_not_kept(
    full: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(*arguments: object) -> None:
        arguments[1].execute(text("UPDATE study SET description = 'other'"))  # type: ignore[attr-defined]

    monkeypatch.setattr("db.copying._copy_counter", forgetful)
    with pytest.raises(CopyDiffers, match="study"):
        copy(full, other)
    assert set(rows(other).values()) == {0}


def test_a_daemon_that_still_writes_is_noticed_on_postgresql(full: Database, other: Database) -> None:
    if full.file is not None:
        pytest.skip("the command holds the lock of the data folder instead")
    with closing(Database(full.url)) as daemon, daemon.write(), pytest.raises(DatabaseInUse, match="Stop it first"):
        copy(full, other)
