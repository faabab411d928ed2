"""Errors of a row and errors of the connection, told apart on both databases."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from sqlalchemy import text, update

from daemon.intake.reader import SpoolReader
from db.database import Database
from db.errors import DatabaseUnavailable, RowRefused
from db.faults import may_be_of_a_row
from db.records import JobFilter
from db.tables import Study
from dicomio.files.spool.spool import Spool
from tests.db.conftest import Images
from tests.dicomio.support.images import classic, write


def test_values_are_stored_no_longer_than_their_representation(database: Database, images: Images) -> None:
    (image,) = images(1, patient_id="P" * 5000, accession_number="A" * 300, frames=2**40, rows=2**70)
    database.studies.index([image])
    (row,) = database.jobs.find()
    assert (row.study.patient_id, len(row.study.patient_id)) == ("P" * 63 + "…", 64)
    assert len(row.study.accession_number) == 16
    (series,) = database.studies.contents("1.2").series
    assert series.instances[0].frames == 1


def test_an_image_with_a_patient_id_of_256_numbers_is_indexed_with_the_others(
    database: Database, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool", reserve=0)
    numbers = np.random.default_rng(7).integers(0, 2**16, 256, dtype=np.uint16)

    def strange(number: int) -> Dataset:
        ds = classic(number, (0, 0, 2.5 * number))
        del ds.PatientID
        ds.add_new(0x00100020, "US", numbers.tolist())
        return ds

    for number in range(3):
        ds = strange(number) if number == 1 else classic(number, (0, 0, 2.5 * number))
        spool.store(write(ds, tmp_path / f"{number}.dcm"))
    intake = SpoolReader(spool, database)
    while intake.step():
        pass
    (row,) = database.jobs.find(JobFilter())
    assert row.study.images == 3
    assert list(spool.quarantine_folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_value_too_large_for_an_index_is_the_rows_fault(database: Database, images: Images) -> None:
    database.studies.index(images(1))
    with pytest.raises(RowRefused) as caught, database.write() as session:
        session.execute(update(Study).values(patient_id=os.urandom(8000).hex()))
    assert caught.value.code == "SQLSTATE 54000"
    assert may_be_of_a_row(caught.value)


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_standby_that_takes_no_rows_is_the_databases_fault(database: Database, images: Images) -> None:
    database.studies.index(images(1))
    with pytest.raises(DatabaseUnavailable, match="read-only") as caught, database.write() as session:
        session.execute(text("SET TRANSACTION READ ONLY; UPDATE study SET patient_id = 'P2'"))
    assert not may_be_of_a_row(caught.value)


@pytest.mark.parametrize("kind", ["postgresql"])
def test_a_connection_that_the_server_ends_is_the_databases_fault(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable), database.write() as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_damaged_file_is_the_databases_fault(database: Database, images: Images, tmp_path: Path, url: str) -> None:
    database.studies.index(images(1))
    database.close()
    file = tmp_path / "scanward.sqlite"
    for side in tmp_path.glob("scanward.sqlite-*"):
        side.unlink()
    file.write_bytes(file.read_bytes()[:4096] + os.urandom(file.stat().st_size - 4096))
    with pytest.raises(DatabaseUnavailable, match="malformed"):
        database.studies.index(images(1, first=2))


def test_a_second_row_of_the_same_key_is_the_rows_fault(database: Database, images: Images) -> None:
    database.studies.index(images(1))
    with pytest.raises(Exception, match=r"UNIQUE|unique") as caught, database.write() as session:
        session.execute(text("INSERT INTO study SELECT * FROM study"))
    assert may_be_of_a_row(caught.value)
