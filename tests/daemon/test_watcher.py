from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import stat
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from structlog.testing import capture_logs

import daemon.inbox
from daemon.errors import NotRunnable
from daemon.inbox import FolderEvent, Inbox
from daemon.intake import Intake
from daemon.sightings import left_alone
from daemon.watcher import FolderWatcher, WatchedFolder
from db.store import Database
from dicomio.filemeta import read_head
from dicomio.spool import Spool
from pipelines.phantom_dicom import write_phantom

SETTLE = 0.2
NOBODY = 65534


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("phantom") / "dicom"
    write_phantom("abdomen-ct", out, slices=4, matrix=64)
    return sorted(out.rglob("*.dcm"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", reserve=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def watching(folder: Path, spool: Spool) -> Callable[..., FolderWatcher]:
    """`with watching():` takes files from `folder` into `spool`."""

    def make(*, keep: bool = False, rescan: float = 0.3, **options: object) -> FolderWatcher:
        return FolderWatcher([WatchedFolder(folder, SETTLE, keep)], spool, rescan=rescan, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def inbox(folder: Path, spool: Spool) -> Callable[..., Inbox]:
    """An inbox without a thread, whose files settle at once; each `step` looks at everything."""

    def make(settle: float = 0.0, keep: bool = False) -> Inbox:
        watched = WatchedFolder(folder, settle, keep)
        return Inbox(watched, spool, lambda event: None, rescan=0.0, stopping=threading.Event())

    return make


@pytest.fixture(autouse=True)
def as_many_scans_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon.inbox, "_SCAN_SHARE", 0)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def contents(paths: list[Path]) -> list[bytes]:
    return sorted(path.read_bytes() for path in paths)


def quarantined(spool: Spool) -> dict[str, str]:
    """Base name that each file in quarantine had -> reason; each of them lies beside its reason."""
    notes = sorted(spool.quarantine_folder.glob("*.reason.json"))
    assert all(path.with_name(path.name.removesuffix(".reason.json")).exists() for path in notes)
    return {note["origin"]: note["reason"] for note in (json.loads(path.read_text()) for path in notes)}


def kept_in_quarantine(spool: Spool) -> list[Path]:
    return [path for path in spool.quarantine_folder.iterdir() if not path.name.endswith(".reason.json")]


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
    assert sorted((event.name, event.taken.images) for event in events) == [(path.name, 1) for path in images]


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
        Intake(spool, database).step()
        (job,) = database.list_jobs()
        (series,) = database.study_facts(job.study.study_instance_uid).series
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
    assert left_alone(name) is alone


def test_temporary_names_are_left_alone_until_they_are_renamed(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool, images: list[Path]
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


def test_what_is_gone_is_forgotten_but_not_when_a_share_is_away(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool, images: list[Path], tmp_path: Path
) -> None:
    for path in images:
        shutil.copy(path, folder)
    inbox(keep=True).step()
    (memory,) = spool.root.glob("watched-*.jsonl")
    assert len(memory.read_text().splitlines()) == 4
    (folder / images[0].name).unlink()
    with memory.open("a") as stream:
        stream.write('["cut o')  # by a crash
    inbox(keep=True).step()
    assert len(memory.read_text().splitlines()) == 3
    folder.rename(tmp_path / "share")
    folder.mkdir()  # what lies below the place where the share is mounted
    inbox(keep=True).step()
    folder.rmdir()
    inbox(keep=True).step()
    (tmp_path / "share").rename(folder)
    inbox(keep=True).step()
    assert len(spool.incoming()) == 4


@pytest.mark.parametrize("keep", [False, True])
def test_a_dicomdir_tree(inbox: Callable[..., Inbox], folder: Path, spool: Spool, keep: bool) -> None:
    source = Path(str(get_testdata_file("dicomdirtests/TINY_ALPHA/DICOMDIR", download=False))).parent
    shutil.copytree(source, folder / "CD")
    images = [path for path in source.rglob("IM*") if path.is_file()]
    assert len(images) == 50
    one = inbox(keep=keep)
    one.step()
    one.step()
    assert contents(spool.incoming()) == contents(images)
    assert set(quarantined(spool)) == {"README"}
    assert list(spool.tmp.iterdir()) == []
    assert len(list(folder.rglob("DICOMDIR"))) == keep


def test_dicomdirs_of_many_makers_and_what_else_lies_on_a_disc(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool
) -> None:
    source = Path(str(get_testdata_file("dicomdirtests/DICOMDIR", download=False))).parent
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("TINY_ALPHA"))
    shutil.rmtree(folder / "TINY_ALPHA", ignore_errors=True)
    images = [path for path in folder.glob("[0-9]*/*/*") if path.is_file()]
    one = inbox()
    one.step()
    assert len(spool.incoming()) == len(images) > 20
    assert set(quarantined(spool)) == {"README.txt"}


def test_what_is_no_dicom_goes_to_quarantine_with_the_reason(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool
) -> None:
    (folder / "autorun.inf").write_bytes(b"[autorun]\r\nopen=viewer.exe\r\n")
    (folder / "report.PDF").write_bytes(b"%PDF-1.7" + bytes(5000))
    (folder / "noise").write_bytes(os.urandom(100_000))
    (folder / "empty.dcm").touch()
    with capture_logs() as logs:
        inbox().step()
    reasons = quarantined(spool)
    assert set(reasons) == {"autorun.inf", "report.PDF", "noise", "empty.dcm"}
    assert "not a DICOM file" in reasons["report.PDF"]
    assert "it is empty" in reasons["empty.dcm"]
    assert {path.name.split(".")[0]: path.name.split(".")[2:] for path in kept_in_quarantine(spool)} == {
        "autorun": ["inf"],
        "report": ["PDF"],
        "noise": [],
        "empty": ["dcm"],
    }
    assert list(folder.iterdir()) == []
    assert str(folder) not in json.dumps([line for line in logs if line["event"] == "quarantined"])


def test_a_file_that_lacks_a_uid_says_so(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool, images: list[Path]
) -> None:
    dataset = pydicom.dcmread(images[0])
    del dataset.StudyInstanceUID
    dataset.save_as(folder / "orphan.dcm")
    inbox().step()
    assert quarantined(spool) == {"orphan.dcm": "orphan.dcm has no StudyInstanceUID, which is required here."}


def test_a_file_that_is_cut_off_is_waited_for_and_then_quarantined(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool, images: list[Path]
) -> None:
    data = images[0].read_bytes()
    (folder / "cut.dcm").write_bytes(data[:-100])
    (folder / "slow.dcm").write_bytes(data[:-100])
    one = inbox(settle=SETTLE)
    began = time.monotonic()
    until(lambda: one.step() or time.monotonic() > began + 3 * SETTLE)
    assert quarantined(spool) == {}
    with (folder / "slow.dcm").open("ab") as stream:
        stream.write(data[-100:])
    until(lambda: one.step() or quarantined(spool))
    assert time.monotonic() - began >= daemon.inbox.PATIENCE * SETTLE
    until(lambda: one.step() or spool.incoming())
    assert set(quarantined(spool)) == {"cut.dcm"}
    assert "cut.dcm is cut off: the pixel data should end at byte" in quarantined(spool)["cut.dcm"]
    assert [path.read_bytes() for path in kept_in_quarantine(spool)] == [data[:-100]]
    assert contents(spool.incoming()) == [data]


def test_a_file_without_head_gets_one(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool, images: list[Path]
) -> None:
    data = images[0].read_bytes()
    (folder / "no preamble").write_bytes(data[132:])
    dataset = pydicom.dcmread(images[0])
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.save_as(folder / "bare", implicit_vr=True, little_endian=True)
    whole = (folder / "bare").read_bytes()
    (folder / "bare").write_bytes(whole[read_head(folder / "bare").offset :])
    inbox().step()
    assert quarantined(spool) == {}
    for path in spool.incoming():
        found = pydicom.dcmread(path)
        assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID == dataset.SOPInstanceUID
        assert found.PixelData == dataset.PixelData
    assert sorted(pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in spool.incoming()) == [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1",
    ]


def test_a_bare_file_with_compressed_pixels_does_not_say_how(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool
) -> None:
    source = Path(str(get_testdata_file("JPEG2000.dcm", download=False)))
    bare = source.read_bytes()[read_head(source).offset :]
    (folder / "bare.dcm").write_bytes(bare)
    inbox().step()
    assert spool.incoming() == []
    assert "compressed" in quarantined(spool)["bare.dcm"]
    assert [path.read_bytes() for path in kept_in_quarantine(spool)] == [bare]


def test_links_are_not_followed(
    watching: Callable[..., FolderWatcher], folder: Path, spool: Spool, images: list[Path], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(images[0], outside / "secret.dcm")
    (folder / "file.dcm").symlink_to(outside / "secret.dcm")
    (folder / "linked").symlink_to(outside, target_is_directory=True)
    with watching():
        time.sleep(3 * SETTLE)
        shutil.copy(images[1], outside / "more.dcm")  # what watchdog might tell of through the link
        shutil.copy(images[2], folder)
        until(spool.incoming)
        time.sleep(3 * SETTLE)
    assert contents(spool.incoming()) == contents(images[2:3])
    assert len(list(outside.iterdir())) == 2
    assert (folder / "file.dcm").is_symlink()


def test_an_event_from_behind_a_link_is_no_business_of_ours(
    folder: Path, spool: Spool, images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    shutil.copy(images[0], tmp_path / "outside" / "secret.dcm")
    (folder / "linked").symlink_to(tmp_path / "outside", target_is_directory=True)
    one = Inbox(WatchedFolder(folder, 0.0), spool, lambda event: None, rescan=3600, stopping=threading.Event())
    one.step()
    for path in (folder / "linked" / "secret.dcm", tmp_path / "outside" / "secret.dcm", folder, folder / "linked"):
        one.touch(path)
    one.step()
    assert spool.incoming() == []


def test_a_missing_folder_is_said_once_and_waited_for(
    watching: Callable[..., FolderWatcher], folder: Path, spool: Spool, images: list[Path]
) -> None:
    folder.rmdir()
    with capture_logs() as logs, watching(rescan=0.1):
        time.sleep(0.6)
        folder.mkdir()
        shutil.copy(images[0], folder)
        until(spool.incoming)
        shutil.rmtree(folder)
        time.sleep(0.6)
        folder.mkdir()
        (folder / "sub").mkdir()
        shutil.copy(images[1], folder / "sub")
        until(lambda: len(spool.incoming()) == 2)
    said = [line["event"] for line in logs if "missing" in line["event"]]
    assert said == ["watched_folder_missing", "watched_folder_missing_no_more"] * 2
    assert not [line for line in logs if line["event"] == "step_failed"]


def test_a_folder_that_another_takes_the_place_of_is_observed_again(
    watching: Callable[..., FolderWatcher], folder: Path, spool: Spool, images: list[Path], tmp_path: Path
) -> None:
    with watching(rescan=3600.0):
        time.sleep(0.3)
        folder.rename(tmp_path / "old")
        folder.mkdir()
        time.sleep(0.3)
        shutil.copy(images[0], tmp_path / "old")
        shutil.copy(images[1], folder)
        until(spool.incoming)
    assert contents(spool.incoming()) == contents(images[1:2])
    assert len(list((tmp_path / "old").iterdir())) == 1


def test_a_full_disk_leaves_everything_where_it_is(
    watching: Callable[..., FolderWatcher], folder: Path, spool: Spool, images: list[Path]
) -> None:
    spool.reserve = 1 << 60
    for path in images:
        shutil.copy(path, folder)
    with capture_logs() as logs, watching():
        time.sleep(6 * SETTLE)
        assert len(list(folder.iterdir())) == 4
        assert [line["event"] for line in logs] == ["spool_full"]
        spool.reserve = 0
        until(lambda: len(spool.incoming()) == 4 and not list(folder.iterdir()))
    assert "spool_full_no_more" in [line["event"] for line in logs]


def test_a_file_that_does_not_fit_waits_and_does_not_hold_up_the_others(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.inbox, "RETRY", 0.0)
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
        ("spool_full", "huge.dcm")
    ]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's rights to files, in this thread only."""
    libc = ctypes.CDLL(None)
    was = libc.setfsuid(NOBODY) if os.geteuid() == 0 else -1
    try:
        yield
    finally:
        if was >= 0:
            libc.setfsuid(was)


@pytest.fixture
def unprivileged() -> Iterator[tuple[Path, Spool]]:
    """A folder to watch and a spool that belong to a user who is not root."""
    with as_nobody():
        root = Path(tempfile.mkdtemp(prefix="scanward-"))
        (root / "inbox").mkdir()
        try:
            yield root / "inbox", Spool(root / "spool", reserve=0)
        finally:
            for path in (root / "inbox", *(root / "inbox").iterdir()):
                path.chmod(0o700)
            shutil.rmtree(root)


def test_an_unreadable_file_is_said_once_and_tried_again(
    unprivileged: tuple[Path, Spool], images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon.inbox, "RETRY", 0.0)
    folder, spool = unprivileged
    data = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    (folder / "locked.dcm").write_bytes(data)
    (folder / "locked.dcm").chmod(0)
    (folder / "closed").mkdir(mode=0)
    (folder / "open.dcm").write_bytes(data)
    one = Inbox(WatchedFolder(folder, 0.0), spool, lambda event: None, rescan=0.0, stopping=threading.Event())
    with capture_logs() as logs:
        for _ in range(4):
            one.step()
    assert len(spool.incoming()) == 1
    complaints = [(line["event"], line["file"]) for line in logs if line["log_level"] == "error"]
    assert sorted(complaints) == [("unreadable", "locked.dcm"), ("unreadable_folder", "closed")]
    (folder / "locked.dcm").chmod(0o600)
    one.step()
    assert len(spool.incoming()) == 2


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_cannot_be_removed_is_taken_once(unprivileged: tuple[Path, Spool], restart: bool) -> None:
    folder, spool = unprivileged
    data = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    (folder / "a.dcm").write_bytes(data)
    folder.chmod(0o500)

    def fresh() -> Inbox:
        return Inbox(WatchedFolder(folder, 0.0), spool, lambda event: None, rescan=0.0, stopping=threading.Event())

    one = fresh()
    with capture_logs() as logs:
        for _ in range(3):
            one.step()
        one = fresh() if restart else one
        one.step()
    assert len(spool.incoming()) == 1
    assert len([line for line in logs if line["event"] == "cannot_remove"]) == 1 + restart
    folder.chmod(0o700)
    one.step()
    assert list(folder.iterdir()) == []
    assert len(spool.incoming()) == 1


def test_a_file_that_vanishes_is_no_error(inbox: Callable[..., Inbox], folder: Path, images: list[Path]) -> None:
    one = inbox(settle=0.05)
    shutil.copy(images[0], folder / "a.dcm")
    with capture_logs() as logs:
        one.step()
        (folder / "a.dcm").unlink()
        time.sleep(0.1)
        one._take_batch()
        one.step()
    assert logs == []


def test_a_file_that_is_written_to_after_it_was_seen_has_to_settle_again(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool, images: list[Path]
) -> None:
    one = inbox(settle=0.05)
    shutil.copy(images[0], folder / "a.dcm")
    one.step()
    time.sleep(0.1)
    shutil.copy(images[1], folder / "a.dcm")
    one._take_batch()
    assert spool.incoming() == []
    until(lambda: one.step() or spool.incoming())
    assert contents(spool.incoming()) == contents(images[1:2])


def test_a_folder_that_was_emptied_stays_while_somebody_may_still_write_to_it(
    inbox: Callable[..., Inbox], folder: Path, images: list[Path]
) -> None:
    one = inbox(settle=SETTLE)
    (folder / "study" / "series").mkdir(parents=True)
    (folder / "empty from the start").mkdir()
    (folder / "shared").mkdir()
    shutil.copy(images[0], folder / "study" / "series")
    shutil.copy(images[1], folder / "shared")
    (folder / "shared" / ".lock").touch()
    until(lambda: one.step() or not list(folder.rglob("*.dcm")))
    taken = time.monotonic()
    until(lambda: one.step() or not (folder / "study").exists())
    assert time.monotonic() - taken > (daemon.inbox.PATIENCE - 1) * SETTLE
    assert sorted(path.name for path in folder.iterdir()) == ["empty from the start", "shared"]


def test_a_zip_file_among_other_files(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool, images: list[Path]
) -> None:
    with zipfile.ZipFile(folder / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in images:
            archive.write(path, f"STUDY/SERIES/{path.name}")
    shutil.copy(images[0], folder)
    inbox().step()
    assert contents(spool.incoming()) == contents([*images, images[0]])
    assert list(folder.iterdir()) == []


def test_a_zip_file_that_is_still_copied_is_waited_for(
    inbox: Callable[..., Inbox], folder: Path, spool: Spool, images: list[Path], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.write(images[0], "a.dcm")
    data = (tmp_path / "study.zip").read_bytes()
    (folder / "study.zip").write_bytes(data[:-40])
    (folder / "cut.zip").write_bytes(data[:-40])
    one = inbox(settle=SETTLE)
    began = time.monotonic()
    until(lambda: one.step() or time.monotonic() > began + 3 * SETTLE)
    assert spool.incoming() == []
    assert quarantined(spool) == {}
    with (folder / "study.zip").open("ab") as stream:
        stream.write(data[-40:])
    until(lambda: one.step() or (spool.incoming() and quarantined(spool)))
    assert set(quarantined(spool)) == {"cut.zip"}


def test_stopping_does_not_wait_for_all_files(folder: Path, spool: Spool, images: list[Path]) -> None:
    for number in range(400):
        shutil.copy(images[0], folder / f"{number}.dcm")
    first = threading.Event()
    with FolderWatcher([WatchedFolder(folder, 0.05)], spool, lambda event: first.set()):
        assert first.wait(20)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    left = len(list(folder.iterdir()))
    assert 0 < left < 400
    assert left + len(spool.incoming()) == 400
    assert list(spool.tmp.iterdir()) == []


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


def test_folders_may_not_lie_in_each_other_or_in_the_spool(tmp_path: Path, spool: Spool) -> None:
    for paths in (
        [tmp_path / "a", tmp_path / "a"],
        [tmp_path / "a", tmp_path / "a" / "b"],
        [spool.root / "incoming"],
        [tmp_path],
    ):
        with pytest.raises(NotRunnable, match="lie in each other"):
            FolderWatcher([WatchedFolder(path) for path in paths], spool)
    FolderWatcher([WatchedFolder(tmp_path / "a"), WatchedFolder(tmp_path / "ab")], spool)


def test_two_folders_at_once(tmp_path: Path, spool: Spool, images: list[Path]) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for place in folders:
        place.mkdir()
    with FolderWatcher([WatchedFolder(place, SETTLE) for place in folders], spool):
        shutil.copy(images[0], folders[0])
        shutil.copy(images[1], folders[1])
        until(lambda: len(spool.incoming()) == 2)


def test_the_log_names_no_patient(inbox: Callable[..., Inbox], folder: Path, images: list[Path]) -> None:
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
