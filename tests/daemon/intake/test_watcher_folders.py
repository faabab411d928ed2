"""The watched folder itself: folders that come and go, links, full disks, the end of the service."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import daemon.intake.folder
import daemon.intake.watcher
from daemon.errors import NotRunnable
from daemon.intake.folder import FolderImporter
from daemon.intake.reported_errors import log_name
from daemon.intake.watcher import FolderWatcher, WatchedFolder
from dicomio.files.spool.spool import Spool
from tests.daemon.support.waiting import until
from tests.daemon.support.watched_folder import SETTLE, contents, quarantined

pytestmark = pytest.mark.usefixtures("as_many_scans_as_asked_for")


def test_what_is_gone_is_forgotten_but_not_when_a_share_is_away(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool, images: list[Path], tmp_path: Path
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
    one = FolderImporter(WatchedFolder(folder, 0.0), spool, lambda event: None, rescan=3600, stopping=threading.Event())
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
    assert said == ["watched_folder_missing", "watched_folder_missing_resolved"] * 2
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
    assert "spool_full_resolved" in [line["event"] for line in logs]


def test_a_folder_that_was_emptied_stays_while_somebody_may_still_write_to_it(
    inbox: Callable[..., FolderImporter], folder: Path, images: list[Path]
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
    assert time.monotonic() - taken > (daemon.intake.folder.PATIENCE - 1) * SETTLE
    assert sorted(path.name for path in folder.iterdir()) == ["empty from the start", "shared"]


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


def test_folders_may_not_lie_in_each_other_or_in_the_spool(tmp_path: Path, spool: Spool) -> None:
    for paths in (
        [tmp_path / "a", tmp_path / "a"],
        [tmp_path / "a", tmp_path / "a" / "b"],
        [spool.root / "incoming"],
        [tmp_path],
    ):
        with pytest.raises(NotRunnable, match="is inside the other"):
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


def dig(top: Path) -> None:
    """Twelve hundred folders in each other, as a runaway script leaves them."""
    top.mkdir()
    place = os.open(top, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=place)
        below = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("before", [True, False], ids=["there at start", "while it runs"])
def test_folders_without_end_do_not_end_the_watching(
    watching: Callable[..., FolderWatcher],
    folder: Path,
    images: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
) -> None:
    monkeypatch.setattr(daemon.intake.watcher, "RESTART", 1.0)
    taken: list[str] = []
    if before:
        dig(folder / "deep")
    with capture_logs() as logs, watching(rescan=3600.0, on_event=lambda event: taken.append(event.name)):
        if not before:
            time.sleep(3 * SETTLE)
            dig(folder / "deep")
        until(lambda: "folder_not_observed" in [line["event"] for line in logs])
        subprocess.run(["rm", "-rf", folder / "deep"], check=True)
        until(lambda: "folder_observed_again" in [line["event"] for line in logs])
        shutil.copy(images[0], folder)  # noticed at once, though everything is not looked at for an hour
        until(lambda: taken == [images[0].name])


def test_what_lies_too_deep_is_said_once_and_the_rest_is_taken(
    inbox: Callable[..., FolderImporter], folder: Path, spool: Spool, images: list[Path]
) -> None:
    dig(folder / "deep")
    shutil.copy(images[0], folder / "deep" / "d" / "d")
    shutil.copy(images[1], folder / "deep" / Path(*["d"] * 100))
    one = inbox()
    with capture_logs() as logs:
        for _ in range(3):
            one.step()
    subprocess.run(["rm", "-rf", folder / "deep"], check=True)  # shutil gives up as watchdog does
    assert contents(spool.incoming()) == contents(images[:1])
    told = [line for line in logs if line["event"] == "folder_unreadable"]
    assert [line["reason"] for line in told] == ["it lies deeper than 64 folders"]


def test_no_name_of_a_file_or_folder_reaches_the_log(
    watching: Callable[..., FolderWatcher], folder: Path, spool: Spool, images: list[Path]
) -> None:
    """They are often made of the patient's."""
    (folder / "Sorrel").mkdir()
    shutil.copy(images[0], folder / "Sorrel" / "Sorrel.1.dcm")
    (folder / "Sorrel^Adam.Sorrel").write_bytes(b"no image")
    cut = images[1].read_bytes()
    (folder / "Sorrel.dcm").write_bytes(cut[: len(cut) // 2])
    with zipfile.ZipFile(folder / "Sorrel.zip", "w") as archive:
        archive.write(images[2], "Sorrel/Sorrel.dcm")
        archive.writestr("Sorrel/Sorrel.txt", "no image")
    (folder / "Sorrel" / "Sorrel.locked.dcm").symlink_to("/nowhere")
    with capture_logs() as logs, watching():
        until(lambda: len(quarantined(spool)) == 3 and len(spool.incoming()) == 2)
    assert {"quarantined", "files_imported"} <= {line["event"] for line in logs}
    assert "Sorrel" not in str(logs)
    assert not [path.name for path in spool.root.rglob("*") if "Sorrel" in path.name]  # these names are logged
    assert {"Sorrel.dcm", "Sorrel.txt"} <= set(quarantined(spool))  # beside the file stands what it was called


def test_what_cannot_be_read_or_is_our_fault_has_an_alias(
    inbox: Callable[..., FolderImporter], folder: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise LookupError("Sorrel^Adam")

    shutil.copy(images[0], folder / "Sorrel.dcm")
    monkeypatch.setattr(daemon.intake.folder, "store", broken)
    with capture_logs() as logs:
        inbox().step()
    (line,) = (line for line in logs if line["event"] == "file_not_imported")
    assert "Sorrel" not in str(logs)
    assert line["file"] == log_name(folder / "Sorrel.dcm", folder)
    assert line["error"] == "LookupError"
    assert line["where"].startswith("test_watcher_folders.broken")
