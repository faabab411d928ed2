"""`scanward jobs conflicts`, over images that really came twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pydicom
import pytest
from typer.testing import Result

from daemon.intake.reader import SpoolReader
from db.database import Database
from dicomio.files.digest import content_digest
from dicomio.files.spool.spool import Spool

Command = Callable[..., Result]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    (tmp_path / "scanward.yaml").write_text("data_dir: data\n")
    (tmp_path / "data").mkdir()
    with closing(Database(f"sqlite:///{tmp_path / 'data' / 'scanward.sqlite'}", tmp_path / "data")) as database:
        database.upgrade()
        yield database


@pytest.fixture
def receive(tmp_path: Path, database: Database, images: list[Path]) -> Callable[..., list[str]]:
    """Lets the images come with some elements changed; returns the digests of what came."""
    spool = Spool(tmp_path / "data" / "spool")
    intake = SpoolReader(spool, database)

    def make(**changed: str) -> list[str]:
        came = []
        for path in images:
            dataset = pydicom.dcmread(path)
            for keyword, value in changed.items():
                setattr(dataset, keyword, value)
            dataset.save_as(tmp_path / "one.dcm", enforce_file_format=True)
            came.append(content_digest(spool.store(tmp_path / "one.dcm")))
        intake.step()
        return sorted(came)

    return make


def used(database: Database, study: str) -> list[str]:
    (series,) = database.studies.contents(study).series
    return sorted(content_digest(image.path) for image in series.instances)


@pytest.mark.parametrize("which", ["first", "last"])
def test_it_is_decided_which_one_is_used(
    which: str, database: Database, receive: Callable[..., list[str]], scanward: Command, tmp_path: Path
) -> None:
    came = {"first": receive(), "last": receive(StationName="OTHER")}
    (row,) = database.jobs.find()
    uid = row.study.study_instance_uid
    assert row.conflicts == 4
    assert used(database, uid) == came["first"]
    config = tmp_path / "scanward.yaml"
    shown = scanward("jobs", "conflicts", "-c", config).output
    assert "--use first|last" in shown
    assert len(json.loads(scanward("jobs", "conflicts", "--json", "-c", config).output)) == 4
    decided = scanward("jobs", "conflicts", "--use", which, "--study", uid, "-c", config)
    assert decided.exit_code == 0, decided.output
    assert f"study {uid}: the {which} version of 4 images" in decided.output
    assert used(database, uid) == came[which]
    assert "No conflicts." in scanward("jobs", "conflicts", "-c", config).output
    assert len(database.studies.known_paths()) == 8


def test_a_study_sent_again_as_another_patient_s_is_used_as_that(
    database: Database, receive: Callable[..., list[str]], scanward: Command, tmp_path: Path
) -> None:
    receive()
    corrected = receive(PatientID="CORRECTED")
    (row,) = database.jobs.find()
    assert (row.study.patient_id, row.conflicts, row.study.images) == ("CORRECTED", 0, 4)
    assert used(database, row.study.study_instance_uid) == corrected
    assert "another PatientID" in scanward("jobs", "list", "--json", "-c", tmp_path / "scanward.yaml").output


def test_a_study_sent_again_under_another_uid_is_another_study(
    database: Database, receive: Callable[..., list[str]]
) -> None:
    first = receive()
    second = receive(StudyInstanceUID="1.2.3.4", PatientID="CORRECTED")
    rows = {row.study.patient_id: row.study for row in database.jobs.find()}
    new = rows.pop("CORRECTED")
    (former,) = rows.values()
    assert used(database, new.study_instance_uid) == second
    assert used(database, former.study_instance_uid) == first
    assert former.became == "all of its images came again as study 1.2.3.4, with another PatientID"
    assert new.became is None
