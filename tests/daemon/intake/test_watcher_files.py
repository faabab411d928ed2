"""The watched folder, file by file: what is taken, what is waited for, what goes to quarantine."""

from __future__ import annotations

import itertools
import shutil
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from structlog.testing import capture_logs

import daemon.intake.folder
from daemon.intake.folder import FolderEvent, FolderImporter
from daemon.intake.reader import SpoolReader
from daemon.intake.reported_errors import log_name
from daemon.intake.settling import is_ignored
from daemon.intake.watcher import FolderWatcher, WatchedFolder
from db.database import Database
from dicomio.files.spool.spool import Spool
from tests.daemon.support.waiting import until
from tests.daemon.support.watched_folder import SETTLE, contents, quarantined

pytestmark = pytest.mark.usefixtures("as_many_scans_as_asked_for")


def test_a_nested_folder_is_taken_and_removed(
    watching: Callable[..., FolderWatcher], folder: Path, spool: Spool, images: list[Path]
) -> None:
    events: list[FolderEvent] = []
    with watching(on_event=events.append):
        shutil.copytree(images[0].parents[1], folder / "study" / "deep")
        until(lambda: len(spool.incoming()) == 4 and not list(folder.iterdir()))
    assert contents(spool.incoming()) == contents(images)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in spool.incoming())
    assert quarantined(spool) == {}
    assert sorted((event.name, event.imported.images) for event in events) == [(path.name, 1) for path in images]


def test_what_lies_there_at_the_start_is_taken_and_the_index_calls_it_watched(
    watching: Callable[..., FolderWatcher], folder: Path, spool: Spool, images: list[Path], tmp_path: Path
) -> None:
    for path in images:
        shutil.copy(path, folder)
    with watching():
        until(lambda: not list(folder.iterdir()))
    database = Database(f"sqlite:///{tmp_path / 'db.sqlite'}")
    database.upgrade()
    try:
        SpoolReader(spool, database).step()
        (job,) = database.jobs.find()
        (series,) = database.studies.contents(job.study.study_instance_uid).series
        assert len(series.instances) == 4
    finally:
        database.close()


def test_events_tell_what_is_new_without_a_scan(
    watching: Callable[..., FolderWatcher], folder: Path, spool: Spool, images: list[Path], tmp_path: Path
) -> None:
    with watching(rescan=3600.0):
        time.sleep(0.3)  # the one scan at the start is over
        shutil.copy(images[0], folder / "copied.dcm")
        shutil.copytree(images[0].parents[1], tmp_path / "elsewhere")
        (tmp_path / "elsewhere").rename(folder / "moved in")
        (folder / "new" / "folders").mkdir(parents=True)
        shutil.copy(images[1], folder / "new" / "folders" / "a.tmp")
        (folder / "new" / "folders" / "a.tmp").rename(folder / "new" / "folders" / "a.dcm")
        until(lambda: len(spool.incoming()) == 6)
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_that_is_still_written_is_left_alone(
    watching: Callable[..., FolderWatcher], folder: Path, spool: Spool, images: list[Path]
) -> None:
    data = images[0].read_bytes()
    with watching(), (folder / "slow.dcm").open("wb", buffering=0) as stream:
        for at in range(0, len(data), len(data) // 12):
            stream.write(data[at : at + len(data) // 12])
            time.sleep(SETTLE / 2)
            assert spool.incoming() == []
        until(spool.incoming)
    assert contents(spool.incoming()) == [data]
    assert quarantined(spool) == {}


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        (".hidden.dcm", True),
        ("IM1.part", True),
        ("IM1.dcm.TMP", True),
        ("IM1.filepart", True),
        ("IM1.dcm~", True),
        ("~IM1.dcm", True),
        ("Thumbs.db", True),
        ("IM1.dcm", False),
        ("IM1", False),
        ("part", False),
        ("tmp.dcm", False),
    ],
)
def test_unfinished_names(name: str, alone: bool) -> None:
    assert is_ignored(name) is alone


def test_temporary_names_are_left_alone_until_they_are_renamed(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool, images: list[Path]
) -> None:
    one = inbox()
    (folder / ".cache").mkdir()
    names = ("a.dcm.part", "b.tmp", ".c.dcm", ".cache/d.dcm", "e.filepart", "f~")
    for name in names:
        shutil.copy(images[0], folder / name)
    one.step()
    one.step()
    assert spool.incoming() == []
    (folder / "a.dcm.part").rename(folder / "a.dcm")
    one.step()
    assert len(spool.incoming()) == 1
    assert all((folder / name).exists() for name in names[1:])


def test_kept_files_are_taken_once_also_over_a_restart(
    watching: Callable[..., FolderWatcher], folder: Path, spool: Spool, images: list[Path]
) -> None:
    (folder / "series").mkdir()
    for path in images:
        shutil.copy(path, folder / "series")
    (folder / "note.txt").write_text("no image")
    with watching(keep=True):
        until(lambda: len(spool.incoming()) == 4 and len(quarantined(spool)) == 1)
        time.sleep(4 * SETTLE)
    with watching(keep=True):
        time.sleep(5 * SETTLE)
        assert len(spool.incoming()) == 4
        changed = folder / "series" / images[0].name
        shutil.copy(images[1], changed)
        until(lambda: len(spool.incoming()) == 5)
    assert len(quarantined(spool)) == 1
    assert len(list(folder.rglob("*.*"))) == 5
    (memory,) = spool.root.glob("watched-*.jsonl")
    assert stat.S_IMODE(memory.stat().st_mode) == 0o600


def test_a_file_that_does_not_fit_waits_and_does_not_hold_up_the_others(
    inbox: Callable[..., FolderImporter],
    folder: Path,
    spool: Spool,
    images: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(daemon.intake.folder, "RETRY", 0.0)
    with (folder / "huge.dcm").open("wb") as stream:
        stream.truncate(1 << 43)  # sparse: takes no room itself
    shutil.copy(images[0], folder)
    one = inbox()
    with capture_logs() as logs:
        for _ in range(3):
            one.step()
    assert len(spool.incoming()) == 1
    assert [path.name for path in folder.iterdir()] == ["huge.dcm"]
    assert [(line["event"], line["file"]) for line in logs if line["log_level"] == "error"] == [
        ("spool_full", log_name(folder / "huge.dcm", folder))
    ]


def test_an_unreadable_file_is_said_once_and_tried_again(
    unprivileged: tuple[Path, Spool], images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.intake.folder, "RETRY", 0.0)
    folder, spool = unprivileged
    data = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    (folder / "locked.dcm").write_bytes(data)
    (folder / "locked.dcm").chmod(0)
    (folder / "closed").mkdir(mode=0)
    (folder / "open.dcm").write_bytes(data)
    one = FolderImporter(WatchedFolder(folder, 0.0), spool, lambda event: None, rescan=0.0, stopping=threading.Event())
    with capture_logs() as logs:
        for _ in range(4):
            one.step()
    assert len(spool.incoming()) == 1
    errors = [(line["event"], line["file"]) for line in logs if line["log_level"] == "error"]
    assert sorted(errors) == [
        ("file_unreadable", log_name(folder / "locked.dcm", folder)),
        ("folder_unreadable", log_name(folder / "closed", folder)),
    ]
    (folder / "locked.dcm").chmod(0o600)
    one.step()
    assert len(spool.incoming()) == 2


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_cannot_be_removed_is_taken_once(unprivileged: tuple[Path, Spool], restart: bool) -> None:
    folder, spool = unprivileged
    data = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    (folder / "a.dcm").write_bytes(data)
    folder.chmod(0o500)

    def fresh() -> FolderImporter:
        return FolderImporter(
            WatchedFolder(folder, 0.0), spool, lambda event: None, rescan=0.0, stopping=threading.Event()
        )

    one = fresh()
    with capture_logs() as logs:
        for _ in range(3):
            one.step()
        one = fresh() if restart else one
        one.step()
    assert len(spool.incoming()) == 1
    assert len([line for line in logs if line["event"] == "file_not_removed"]) == 1 + restart
    folder.chmod(0o700)
    one.step()
    assert list(folder.iterdir()) == []
    assert len(spool.incoming()) == 1


def test_a_file_that_vanishes_is_no_error(
    inbox: Callable[..., FolderImporter], folder: Path, images: list[Path]
) -> None:
    one = inbox(settle=0.05)
    shutil.copy(images[0], folder / "a.dcm")
    with capture_logs() as logs:
        one.step()
        (folder / "a.dcm").unlink()
        time.sleep(0.1)
        one._import_batch()
        one.step()
    assert logs == []


def test_a_file_that_is_written_to_after_it_was_seen_has_to_settle_again(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool, images: list[Path]
) -> None:
    one = inbox(settle=0.05)
    shutil.copy(images[0], folder / "a.dcm")
    one.step()
    time.sleep(0.1)
    shutil.copy(images[1], folder / "a.dcm")
    one._import_batch()
    assert spool.incoming() == []
    until(lambda: one.step() or spool.incoming())
    assert contents(spool.incoming()) == contents(images[1:2])


def test_a_fault_of_ours_does_not_hold_up_the_other_files(folder: Path, spool: Spool, images: list[Path]) -> None:
    for path in images:
        shutil.copy(path, folder)
    calls = itertools.count()

    def faulty(event: FolderEvent) -> None:
        if next(calls) == 0:
            raise ValueError("a listener of events that fails")

    with capture_logs(), FolderWatcher([WatchedFolder(folder, 0.05)], spool, faulty, rescan=0.2):
        until(lambda: not list(folder.iterdir()))
    assert len(spool.incoming()) == 4


def test_the_log_names_no_patient(inbox: Callable[..., FolderImporter], folder: Path, images: list[Path]) -> None:
    dataset = pydicom.dcmread(images[0])
    dataset.PatientName, dataset.PatientID = "Unmistakable^Name", "UNMISTAKABLE-ID"
    dataset.save_as(folder / "a.dcm")
    data = (folder / "a.dcm").read_bytes()
    (folder / "b.dcm").write_bytes(data[:-10])
    (folder / "c.dcm").write_bytes(data[:600])
    (folder / "d.dcm").write_bytes(data[200:])
    with capture_logs() as logs:
        inbox().step()
    assert len(logs) >= 4
    assert "UNMISTAKABLE" not in repr(logs).upper()
