from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest

from daemon.intake.reader import SpoolReader
from daemon.jobs.assembly import Assembly
from db.database import Database
from db.records import ResultFormat
from db.states import Priority
from dicomio.files.spool.spool import Spool
from pipelines.errors import ModelMissing
from pipelines.phantoms.dicom import write_phantom
from pipelines.registry import PIPELINES
from pipelines.rules.builtin import builtin_rules
from pipelines.rules.file import RuleFile

ROUTED = "0" * 64


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    store = Database(f"sqlite:///{tmp_path / 'db.sqlite'}")
    store.upgrade()
    yield store
    store.close()


@pytest.fixture
def intake(tmp_path: Path, database: Database) -> SpoolReader:
    spool = Spool(tmp_path / "spool")
    for seed in (1, 2):
        out = tmp_path / f"phantom{seed}"
        write_phantom("abdomen-ct", out, slices=20, matrix=64, slice_mm=5.0, seed=seed)
        for path in out.rglob("*.dcm"):
            spool.store(path)
    intake = SpoolReader(spool, database)
    intake.step()
    return intake


def states(database: Database) -> list[str]:
    return sorted(str(row.state) for row in database.jobs.find())


def test_a_study_that_cannot_be_routed_says_why_and_holds_up_no_other(
    database: Database, intake: SpoolReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = iter([None, ROUTED])

    def digest(*_: object) -> str:
        if (found := next(digests)) is None:
            raise ModelMissing(name="abdomen-liver-unet", folders=("/models",))
        return found

    monkeypatch.setattr("daemon.jobs.assembly.model_digest", digest)
    monkeypatch.setattr("daemon.jobs.assembly.packages_for", lambda *_: {})
    Assembly(database, builtin_rules, quiet_period=timedelta(0)).step()
    assert states(database) == ["queued", "unmatched"]
    (stuck,) = (row for row in database.jobs.find() if str(row.state) == "unmatched")
    assert "abdomen-liver-unet" in stuck.why


def test_a_study_is_not_complete_while_images_may_wait_to_be_indexed(
    database: Database, intake: SpoolReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.jobs.assembly.model_digest", lambda *_: ROUTED)
    monkeypatch.setattr("daemon.jobs.assembly.packages_for", lambda *_: {})
    long_after = datetime.now(UTC) + timedelta(hours=1)
    until = datetime.fromtimestamp(0, UTC)
    assembly = Assembly(database, builtin_rules, quiet_period=timedelta(seconds=30), as_of=lambda: until)
    assembly.step()
    assert states(database) == ["receiving", "receiving"]
    until = long_after
    assembly.step()
    assert states(database) == ["queued", "queued"]


def test_images_that_share_one_uid_are_told_before_the_rules_that_saw_one_image(
    tmp_path: Path, database: Database
) -> None:
    spool = Spool(tmp_path / "spool")
    write_phantom("abdomen-ct", tmp_path / "ct", slices=20, matrix=64, slice_mm=5.0)
    for path in (tmp_path / "ct").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset.save_as(path)
        spool.store(path)
    SpoolReader(spool, database).step()
    Assembly(database, builtin_rules, quiet_period=timedelta(0)).step()
    (row,) = database.jobs.find()
    assert row.why.startswith("19 more images carry the SOP Instance UID of another image")
    assert "saw 1" in row.why


TWO_RULES = """
rules:
  - {name: a, pipeline: abdomen-ct, series: {ct: {Modality: CT}}, priority: low, send_to: [kids]}
  - {name: b, pipeline: abdomen-ct, series: {ct: {Modality: CT}}, priority: stat, send_to: [pacs]}
"""


def test_two_rules_that_want_the_same_make_one_job_with_all_that_both_ask_for(
    tmp_path: Path, database: Database, intake: SpoolReader
) -> None:
    """All routes in one transaction: a claim in between settled where the results go, and the priority was dropped."""
    (tmp_path / "rules.yaml").write_text(TWO_RULES)
    rules = RuleFile(tmp_path / "rules.yaml", known_pipelines=PIPELINES, known_destinations=("kids", "pacs")).current
    formats = {"kids": ResultFormat("LABELMAP"), "pacs": ResultFormat("BINARY")}
    Assembly(database, lambda: rules, quiet_period=timedelta(0), formats=formats).step()
    jobs = [database.jobs.claim("host:1") for _ in range(3)]
    assert [(job.send_to, job.priority) for job in jobs if job] == [(("kids", "pacs"), Priority.STAT)] * 2
