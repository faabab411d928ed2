"""Both databases, real ones: every test that asks for `database` or `url` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import text

from db.database import Database
from db.records import IndexedInstance, JobOrder, JobOutcome, NewResult
from db.states import JobState, Origin, ResultKind
from db.tables import METADATA
from tests.postgres import Cluster

NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file at head, to be copied."""
    file = tmp_path_factory.mktemp("db") / "migrated.sqlite"
    with closing(Database(f"sqlite:///{file}")) as database:
        database.upgrade()
    return file


@pytest.fixture(scope="session")
def migrated_server(cluster: Cluster) -> Database:
    """A PostgreSQL database at head, to be emptied before each test."""
    database = Database(cluster.new_database())
    database.upgrade()
    return database


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables; the SQLite file does not even exist."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/empty.sqlite"
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.new_database()


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database at head, without rows."""
    if kind == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "scanward.sqlite")
        return f"sqlite:///{tmp_path}/scanward.sqlite"
    server: Database = request.getfixturevalue("migrated_server")
    with server.write() as session:
        session.execute(text(f"TRUNCATE {', '.join(METADATA.tables)} RESTART IDENTITY"))
    server.close()
    return server.url


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(Database(url)) as database:
        yield database


class Images(Protocol):
    """Makes images of a study: `images(3)`, `images(2, first=4, study="1.3", digest="other")`."""

    def __call__(self, number: int, first: int = 1, study: str = "1.2", **changes: Any) -> list[IndexedInstance]: ...


@pytest.fixture
def images() -> Images:
    def make(number: int, first: int = 1, study: str = "1.2", **changes: Any) -> list[IndexedInstance]:
        return [_image(index, study, **changes) for index in range(first, first + number)]

    return make


def _image(index: int, study: str, *, digest: str = "content", **changes: Any) -> IndexedInstance:
    series = changes.pop("series_instance_uid", f"{study}.7")
    values: dict[str, Any] = {
        "sop_instance_uid": f"{series}.{index}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "study_instance_uid": study,
        "series_instance_uid": series,
        "modality": "CT",
        "patient_id": "P1",
        "accession_number": "A1",
        "study_date": "20261120",
        "source_ae": "CT1",
        "frames": 1,
        "has_pixels": True,
        "rows": 512,
        "columns": 512,
        "tags": {"StudyDescription": "Abdomen", "SeriesDescription": "portal venous", "SliceThickness": 2.5},
        "instance_tags": {"ImagePositionPatient": [0.0, 0.0, 2.5 * index], "InstanceNumber": index},
        "path": Path(f"/spool/studies/{study}/{series}/{index}.{digest}.dcm"),
        "size": 525_000,
        "content_digest": f"{digest}-{series}.{index}",
        "received_at": NOON,
        "association_id": "a1",
        "origin": Origin.LISTENER,
    }
    return IndexedInstance(**(values | changes))


@pytest.fixture
def order() -> Callable[..., JobOrder]:
    def make(study: str = "1.2", **changes: Any) -> JobOrder:
        values: dict[str, Any] = {
            "rule": "liver",
            "pipeline": "abdomen-ct",
            "roles": {"ct": f"{study}.7"},
            "model_digest": "m1",
            "send_to": ("pacs",),
        }
        return JobOrder(**(values | changes))

    return make


@pytest.fixture
def routed(database: Database, images: Images, order: Callable[..., JobOrder]) -> Callable[..., int]:
    """Lets a study come in and be routed; returns its job's number. `routed("1.3", priority=Priority.STAT)`."""

    def make(study: str = "1.2", number: int = 2, **changes: Any) -> int:
        database.studies.index(images(number, study=study))
        database.studies.complete(study, "nothing came", now=NOON)
        made = database.jobs.create(study, order(study, **changes), now=NOON)
        database.studies.set_routed(study, "liver -> abdomen-ct", now=NOON)
        return made.job_id

    return make


@pytest.fixture
def events(database: Database) -> Callable[[int], Sequence[str]]:
    """What happened to a job, as "old -> new" and so on."""

    def tell(job_id: int) -> Sequence[str]:
        return [event.event for event in database.jobs.show(job_id).events]

    return tell


@pytest.fixture
def finish(database: Database) -> Callable[..., JobState]:
    """Claims what comes next, which must be this job, and finishes it with some results."""

    def make(job_id: int, results: int | tuple[NewResult, ...] = 1, **changes: Any) -> JobState:
        claimed = database.jobs.claim("host:1", NOON)
        assert claimed is not None
        assert claimed.id == job_id
        if isinstance(results, int):
            results = tuple(_result(job_id, number) for number in range(1, results + 1))
        return database.jobs.finish(job_id, JobOutcome(**({"results": results} | changes)), now=NOON)

    return make


def _result(job_id: int, number: int) -> NewResult:
    return NewResult(
        kind=ResultKind.SEGMENTATION,
        name=f"seg{number}",
        path=Path(f"/outbox/{job_id}/seg{number}.dcm"),
        size=1000,
        content_digest=f"d{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
        sop_instance_uid=f"2.25.{job_id}{number}",
    )


def again(batch: list[Any], **changes: Any) -> list[Any]:
    """The same images (SOP Instance UIDs) with something changed."""
    return [
        replace(item, content_digest=f"again-{item.content_digest}", path=item.path.with_suffix(".2.dcm"), **changes)
        for item in batch
    ]


@pytest.fixture
def every_state(database: Database, images: Images, routed: Callable[..., int]) -> dict[str, int]:
    """A queued, a running, a refused and a failed job, a study that is being received, and one that no rule took."""
    jobs = {}
    for number, name in enumerate(["failed", "refused", "running", "queued"], 2):
        jobs[name] = routed(f"1.{number}", pipeline="brain-mr" if name == "refused" else "abdomen-ct")
        if name != "queued":
            database.jobs.claim("host:1", NOON + dt.timedelta(seconds=number))
    database.jobs.fail(jobs["failed"], "killed its worker twice: out of memory", now=NOON + dt.timedelta(seconds=20))
    database.jobs.refuse(
        jobs["refused"], "the gantry was tilted", code="tilted-gantry", now=NOON + dt.timedelta(seconds=10)
    )
    database.studies.index(images(1, study="1.8", patient_id="P8", accession_number="A8", source_ae="MR7"))
    database.studies.index(images(1, study="1.9"))
    database.studies.complete("1.9", "quiet", now=NOON)
    database.studies.set_unmatched("1.9", ["liver: Modality is MR, not CT"], now=NOON + dt.timedelta(seconds=30))
    return jobs
