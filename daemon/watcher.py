"""The folder watcher: whatever is put into a watched folder ends up in the spool, or in quarantine with the reason.

inotify (through watchdog) says at once what is new; a scan at the start and now and then finds what lay there before, what
an overflowing event queue lost, and what a network share never reports.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from watchdog.events import DirCreatedEvent, DirMovedEvent, FileClosedEvent, FileCreatedEvent, FileModifiedEvent
from watchdog.events import FileMovedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from daemon.collecting import ChangedMeanwhile, Collector, Fate, WatchEvent
from daemon.ledger import Ledger
from daemon.settling import Settling, Stamp, files_below, left_alone, stamp_of
from dicomio.spool import FOLDER_MODE, Spool, SpoolFull

__all__ = ["Fate", "FolderWatcher", "WatchEvent", "WatchedFolder"]

log = structlog.get_logger(__name__)

EVENTS = [DirCreatedEvent, DirMovedEvent, FileClosedEvent, FileCreatedEvent, FileModifiedEvent, FileMovedEvent]
PAUSE_WHEN_FULL = 10.0
STALE_FOLDER = 600.0  # seconds after which an emptied folder is removed


@dataclass(frozen=True, kw_only=True)
class WatchedFolder:
    """A folder to take files from.

    Attributes:
        path: The folder.
        settle: Seconds that a file has to keep still before it is taken.
        keep: Leave the files where they are, and remember which were taken; otherwise they are removed.
        rescan: Seconds between complete scans.
    """

    path: Path
    settle: float = 5.0
    keep: bool = False
    rescan: float = 30.0


class FolderWatcher:
    """Watches folders while the context is active; each has a thread, so that a slow share holds up nobody else.

    Args:
        folders: What to watch; a folder that is not there yet is waited for.
        spool: Where the files go.
        on_event: Called from those threads for each file that was taken, quarantined or ignored.
    """

    def __init__(
        self, folders: Sequence[WatchedFolder], spool: Spool, on_event: Callable[[WatchEvent], object]
    ) -> None:
        self._observer = Observer()
        self._watches = [_Watch(folder, spool, on_event, self._observer) for folder in folders]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start watching; what lies there already is taken too."""
        self._observer.start()
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """Finish the file in hand, then stop."""
        for watch in self._watches:
            watch.stop()
        self._observer.stop()
        self._observer.join()


class _Watch(FileSystemEventHandler):  # type: ignore[misc]
    """One folder."""

    def __init__(
        self, folder: WatchedFolder, spool: Spool, on_event: Callable[[WatchEvent], object], observer: Any
    ) -> None:
        self._folder = folder
        self._root = folder.path.absolute()
        self._observer = observer
        self._observed = False
        self._collector = Collector(spool, lambda event: (_log(event), on_event(event)))
        self._settling = Settling(folder.settle)
        self._ledger = Ledger(_ledger_path(spool, self._root))
        self._news: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._complained: set[Path] = set()
        self._next_scan = 0.0
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch-{self._root.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note the path; the thread looks at it."""
        self._news.put(Path(event.dest_path if event.event_type == "moved" else event.src_path))
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = self._pause()
            try:
                self._turn()
            except SpoolFull as error:
                log.error("watcher_waits", folder=str(self._root), reason=str(error))
                pause = PAUSE_WHEN_FULL
                self._next_scan = 0.0
            except Exception:
                log.exception("watcher_failed", folder=str(self._root))
                self._next_scan = time.monotonic() + self._folder.rescan
            self._rest(pause)

    def _pause(self) -> float:
        return min(1.0, self._folder.settle / 5)

    def _rest(self, pause: float) -> None:
        """While files settle, look at them at a steady pace; else sleep until there is news or time for a scan."""
        if len(self._settling):
            self._stop.wait(pause)
            return
        self._wake.wait(max(pause, self._next_scan - time.monotonic()))
        self._wake.clear()

    def _turn(self) -> None:
        if time.monotonic() >= self._next_scan:
            self._scan()
        while not self._news.empty():
            self._see(self._news.get())
        for path, stamp in self._settling.ripe(time.monotonic()):
            if self._stop.is_set():
                return
            self._take(path, stamp)

    def _scan(self) -> None:
        self._observe()
        first = self._next_scan == 0.0
        found = list(files_below(self._root, self._root))
        for path in found:
            self._see_file(path)
        if first:
            self._ledger.keep_only((path, stamp) for path in found if (stamp := stamp_of(path)) is not None)
        if not self._folder.keep:
            self._remove_empty_folders()
        self._next_scan = time.monotonic() + self._folder.rescan

    def _observe(self) -> None:
        """Ask for events; without them (no such folder yet, no inotify watches left) the scans have to do."""
        if self._observed and self._root.is_dir():
            return
        try:
            self._observer.schedule(self, str(self._root), recursive=True, event_filter=EVENTS)
            self._observed = True
        except OSError as error:
            log.warning(
                "folder_not_observed", folder=str(self._root), reason=str(error), scan_every=self._folder.rescan
            )

    def _see(self, path: Path) -> None:
        if not path.is_relative_to(self._root) or left_alone(path, self._root):
            return
        if path.is_dir() and not path.is_symlink():
            for file in files_below(path, self._root):
                self._see_file(file)
        else:
            self._see_file(path)

    def _see_file(self, path: Path) -> None:
        stamp = stamp_of(path)
        if stamp is not None and (path, stamp) not in self._ledger:
            self._settling.see(path, time.monotonic())

    def _take(self, path: Path, stamp: Stamp) -> None:
        try:
            self._collector.take(path, stamp, self._root)
        except (ChangedMeanwhile, FileNotFoundError):
            self._news.put(path)
            return
        except PermissionError as error:
            if path not in self._complained:
                log.warning(
                    "file_unreadable", folder=str(self._root), file=path.name, reason=error.strerror or str(error)
                )
                self._complained.add(path)
            return
        self._complained.discard(path)
        self._dispose(path, stamp)

    def _dispose(self, path: Path, stamp: Stamp) -> None:
        """Remove what was taken, unless it is to stay, cannot be removed, or is another file by now."""
        if not self._folder.keep and stamp_of(path) == stamp:
            try:
                path.unlink()
            except FileNotFoundError:
                return
            except OSError as error:
                log.warning("file_not_removed", folder=str(self._root), file=path.name, reason=error.strerror)
            else:
                return
        self._ledger.add(path, stamp)

    def _remove_empty_folders(self) -> None:
        for folder in sorted((path for path in self._root.rglob("*") if path.is_dir()), reverse=True):
            if folder.is_symlink() or time.time() - folder.stat().st_mtime < STALE_FOLDER:
                continue
            try:
                folder.rmdir()
            except OSError:  # not empty
                continue


def _log(event: WatchEvent) -> None:
    if event.fate is Fate.QUARANTINED:
        log.warning(
            "file_quarantined", folder=str(event.folder), stored=event.stored and event.stored.name, reason=event.reason
        )
    elif event.fate is Fate.IGNORED:
        log.info("file_ignored", folder=str(event.folder), reason=event.reason)


def _ledger_path(spool: Spool, folder: Path) -> Path:
    ledgers = spool.root / "watched"
    ledgers.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return ledgers / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.taken"
