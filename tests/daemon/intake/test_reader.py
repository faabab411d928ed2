from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian
from sqlalchemy import text

from daemon.intake.reader import SpoolReader, _association_of
from db.database import Database
from db.errors import DatabaseUnavailable
from dicomio.files.digest import content_digest, data_set_offset
from dicomio.files.spool.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    store = Database(f"sqlite:///{tmp_path / 'db.sqlite'}")
    store.upgrade()
    yield store
    store.close()


def only_study(database: Database):  # type: ignore[no-untyped-def]
    (row,) = database.jobs.find()
    return database.studies.contents(row.study.study_instance_uid)


def test_files_move_to_their_study_and_get_rows(spool: Spool, database: Database, images: list[Path]) -> None:
    for path in images:
        spool.store(path)
    assert SpoolReader(spool, database).step() is False
    assert spool.incoming() == []
    (series,) = only_study(database).series
    assert len(series.instances) == 4
    for instance in series.instances:
        assert instance.path.is_relative_to(spool.studies_folder)
        assert instance.path.stat().st_mode & 0o077 == 0


def test_the_same_image_twice_leaves_one_copy(spool: Spool, database: Database, images: list[Path]) -> None:
    intake = SpoolReader(spool, database)
    for _ in range(2):
        spool.store(images[0])
        spool.store(images[0])
        intake.step()
    assert len(list(spool.studies_folder.rglob("*.dcm"))) == 1
    assert len(only_study(database).series[0].instances) == 1
    assert list(database.studies.conflicts()) == []


def test_same_uid_with_other_content_keeps_both_and_is_recorded(
    spool: Spool, database: Database, images: list[Path], tmp_path: Path
) -> None:
    other = pydicom.dcmread(images[0])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(tmp_path / "other.dcm")
    spool.store(images[0])
    spool.store(tmp_path / "other.dcm")
    SpoolReader(spool, database).step()
    assert len(list(spool.studies_folder.rglob("*.dcm"))) == 2
    (conflict,) = database.studies.conflicts()
    assert {content_digest(conflict.kept), content_digest(conflict.other)} == {
        content_digest(images[0]),
        content_digest(tmp_path / "other.dcm"),
    }
    assert database.jobs.find()[0].conflicts == 1


def test_the_same_image_in_another_encoding_is_no_conflict(
    spool: Spool, database: Database, images: list[Path], tmp_path: Path
) -> None:
    """And it is kept: bytes that were acknowledged go only where a copy of them is."""
    dataset = pydicom.dcmread(images[0])
    assert dataset.file_meta.TransferSyntaxUID != ImplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "implicit.dcm", dataset, implicit_vr=True, little_endian=True)
    intake = SpoolReader(spool, database)
    for path in (tmp_path / "implicit.dcm", images[0], images[0]):
        spool.store(path)
        intake.step()
    assert database.studies.conflicts() == []
    assert database.jobs.find()[0].study.images == 1
    (image,) = only_study(database).series[0].instances
    assert content_digest(image.path) == content_digest(tmp_path / "implicit.dcm")
    assert len(list(spool.studies_folder.rglob("*.dcm"))) == 2
    assert len(database.studies.known_paths()) == 2


def test_what_is_cut_off_goes_to_quarantine_and_takes_nothing_with_it(
    spool: Spool, database: Database, images: list[Path]
) -> None:
    spool.store(images[0].read_bytes()[:-500], "1.2.3")
    spool.store(b"not DICOM at all", "1.2.4")
    spool.store(images[1])
    SpoolReader(spool, database).step()
    assert len(only_study(database).series[0].instances) == 1
    reasons = [path.read_text() for path in spool.quarantine_folder.glob("*.reason.json")]
    assert len(reasons) == 2
    assert any("cut off" in reason for reason in reasons)


def test_a_file_that_an_older_version_left_without_a_row_is_indexed_once(
    spool: Spool, database: Database, images: list[Path]
) -> None:
    folder = spool.studies_folder / "1.2" / "1.3"
    folder.mkdir(parents=True)
    for number, path in enumerate(images):
        shutil.copy(path, folder / f"{number}.dcm")
    intake = SpoolReader(spool, database)
    intake.step()
    assert len(only_study(database).series[0].instances) == 4
    assert SpoolReader(spool, database).reconcile() == 0


@pytest.mark.parametrize("point", ["add_name", "sync_folder", "index", "remove_copies"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_killed_at_any_step_each_image_has_one_file_one_row_and_its_association(
    spool: Spool, database: Database, images: list[Path], point: str, late: bool
) -> None:
    """A process is killed (SIGKILL) before or after each step of the second of two batches; the next one goes on."""
    for number, path in enumerate(images):
        with spool.open_writer("1.2.3", f"0123456789abcdef-{number}") as part:
            part.write(path.read_bytes())
            part.commit()
    code = f"""
import os, sys
from pathlib import Path
import daemon.intake.reader
from db.database import Database
from db.stores.studies.store import StudyStore
from dicomio.files.spool.spool import Spool
daemon.intake.reader.BATCH = 2
calls = 0
where = StudyStore if {point!r} == "index" else daemon.intake.reader
real = getattr(where, {point!r})
def killed(*arguments):
    global calls
    calls += 1
    if calls == {3 if point == "add_name" else 2} and not {late}:
        os.kill(os.getpid(), 9)
    answer = real(*arguments)
    if calls == {3 if point == "add_name" else 2}:
        os.kill(os.getpid(), 9)
    return answer
setattr(where, {point!r}, killed)
intake = daemon.intake.reader.SpoolReader(Spool(Path(sys.argv[1])), Database(sys.argv[2]))
while True:
    intake.step()
"""
    url = f"sqlite:///{database.file}"
    ended = subprocess.run([sys.executable, "-c", code, str(spool.root), url], check=False, timeout=60)
    assert ended.returncode == -9
    intake = SpoolReader(spool, database)
    intake.step()
    files = sorted(spool.studies_folder.rglob("*.dcm"))
    (series,) = only_study(database).series
    assert sorted(instance.path for instance in series.instances) == files
    assert sorted(map(content_digest, files)) == sorted(map(content_digest, images))
    assert [path.stat().st_nlink for path in files] == [1] * 4
    assert spool.incoming() == []
    with database.read() as session:
        found = session.execute(text("SELECT origin, association_id FROM instance")).all()
    assert found == [("listener", "0123456789abcdef")] * 4


def test_what_was_indexed_is_not_looked_at_again(
    spool: Spool, database: Database, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in images:
        spool.store(path)
    SpoolReader(spool, database).step()
    looked: list[Path] = []
    real = os.scandir

    def scandir(folder: Any) -> Any:
        looked.append(Path(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    SpoolReader(spool, database).step()
    assert looked == [spool.associations_folder, spool.incoming_folder, spool.lost_folder]


def test_a_backlog_is_listed_once(
    spool: Spool, database: Database, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.intake.reader.BATCH", 1)
    for path in images:
        spool.store(path)
    listed = []
    real = Spool.incoming
    monkeypatch.setattr(Spool, "incoming", lambda self: listed.append(1) or real(self))
    intake = SpoolReader(spool, database)
    while intake.step():
        pass
    assert len(only_study(database).series[0].instances) == 4
    assert len(listed) == 1


def test_a_database_from_a_backup_gets_the_rows_that_it_lacks(
    spool: Spool, database: Database, images: list[Path], tmp_path: Path
) -> None:
    for number, path in enumerate(images):
        if number == 2:
            with closing(sqlite3.connect(database.file)) as source, closing(sqlite3.connect(tmp_path / "old")) as copy:
                source.backup(copy)
        spool.store(path)
        SpoolReader(spool, database).step()
    restored = Database(f"sqlite:///{tmp_path / 'old'}")
    intake = SpoolReader(spool, restored)
    assert len(only_study(restored).series[0].instances) == 2
    intake.step()
    assert len(only_study(restored).series[0].instances) == 4
    restored.close()


def test_a_stored_name_that_collides_overwrites_nothing(spool: Spool, database: Database, images: list[Path]) -> None:
    """Whatever has the name already stays, also where it has the name that would come next."""
    spool.store(images[0])
    intake = SpoolReader(spool, database)
    intake.step()
    (first,) = spool.studies_folder.rglob("*.dcm")
    other = pydicom.dcmread(images[0])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(path := spool.root / "other.dcm")
    taken = [first.with_name(f"{first.stem}.{content_digest(path)[:length]}.dcm") for length in (8, 64)]
    for name in taken:
        name.write_bytes(b"somebody's")
    spool.store(path)
    intake.step()
    assert content_digest(first) == content_digest(images[0])
    assert [name.read_bytes() for name in taken] == [b"somebody's"] * 2
    (conflict,) = database.studies.conflicts()
    assert content_digest(conflict.other) == content_digest(path)


def test_folders_belong_to_nobody_else_whatever_the_umask(
    tmp_path: Path, database: Database, images: list[Path]
) -> None:
    before = os.umask(0)
    try:
        spool = Spool(tmp_path / "new" / "data" / "spool")
        spool.store(images[0])
        SpoolReader(spool, database).step()
    finally:
        os.umask(before)
    found = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o600}


def test_the_digest_does_not_depend_on_who_sent_it(images: list[Path], tmp_path: Path) -> None:
    dataset = pydicom.dcmread(images[0])
    dataset.file_meta.SourceApplicationEntityTitle = "SOMEBODY_ELSE"
    dataset.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    assert (tmp_path / "other.dcm").read_bytes() != images[0].read_bytes()
    assert content_digest(tmp_path / "other.dcm") == content_digest(images[0])


def test_a_file_without_group_length_is_digested_as_a_whole() -> None:
    assert data_set_offset(b"x" * 200) == 0


def test_only_what_a_listener_stored_belongs_to_an_association(spool: Spool, images: list[Path]) -> None:
    with spool.open_writer("1.2.3", "0123456789abcdef-17") as part:  # as dicomio/network/scp/association.py names it
        part.write(images[0].read_bytes())
        assert _association_of(part.commit()) == "0123456789abcdef"
    for hint in ("1.2.3", "IM-0001-0017", "export.0123456789abcdef-17"):  # as the watcher lets the spool name it
        assert _association_of(spool.store(images[0], hint)) is None


class Flaky:
    """The database, whose `studies` do not take images while `fault` is set."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.studies = self
        self.fault: Exception | None = None
        self.unwanted = ""

    def index(self, batch, is_same_image):  # type: ignore[no-untyped-def]
        if self.fault is not None:
            raise self.fault
        if self.unwanted in {item.sop_instance_uid for item in batch}:
            raise OverflowError
        return self._database.studies.index(batch, is_same_image)

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        return getattr(self._database.studies, name)


def test_what_was_moved_while_the_database_was_away_gets_its_rows_once_it_is_back(
    spool: Spool, database: Database, images: list[Path]
) -> None:
    flaky = Flaky(database)
    intake = SpoolReader(spool, flaky)  # type: ignore[arg-type]
    flaky.fault = DatabaseUnavailable(url="postgresql://", reason="away")
    for path in images[:2]:
        spool.store(path)
        with pytest.raises(DatabaseUnavailable):
            intake.step()
    before = intake.indexed_until
    assert before.timestamp() == 0
    flaky.fault = None
    intake.step()
    assert len(only_study(database).series[0].instances) == 2
    assert intake.indexed_until > before


def test_an_image_that_the_database_does_not_take_holds_up_no_other(
    spool: Spool, database: Database, images: list[Path]
) -> None:
    flaky = Flaky(database)
    flaky.unwanted = pydicom.dcmread(images[1], stop_before_pixels=True).SOPInstanceUID
    for path in images:
        spool.store(path)
    SpoolReader(spool, flaky).step()  # type: ignore[arg-type]
    assert len(only_study(database).series[0].instances) == 3
    (reason,) = spool.quarantine_folder.glob("*.reason.json")
    assert "OverflowError" in reason.read_text()


def test_a_file_that_cannot_be_read_holds_up_no_other(
    spool: Spool, database: Database, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = spool.store(images[0])
    spool.store(images[1])
    real = content_digest

    def digest(path: Path) -> str:
        if path == bad:
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr("daemon.intake.reader.content_digest", digest)
    SpoolReader(spool, database).step()
    assert len(only_study(database).series[0].instances) == 1
    (reason,) = spool.quarantine_folder.glob("*.reason.json")
    assert "Input/output error" in reason.read_text()


def test_while_there_is_a_backlog_only_what_came_before_it_counts_as_indexed(
    spool: Spool, database: Database, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.intake.reader.BATCH", 1)
    for number, path in enumerate(images[:2]):
        os.utime(spool.store(path), (1000 + number, 1000 + number))
    intake = SpoolReader(spool, database)
    assert intake.indexed_until.timestamp() == 0  # nobody has looked yet
    assert intake.step() is True
    assert intake.indexed_until.timestamp() == 1001
