"""Watched folders: files put there go into the spool, and are removed once they are durable there.

One thread for each folder waits until a file has settled, imports it and removes it (daemon/intake/folder.py).
watchdog says where to look; what it does not see (network shares, an overflow, what was there before) is found by
looking at everything now and then.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Any, Self

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
)
from watchdog.observers import Observer

from daemon.errors import NotRunnable
from daemon.intake.folder import FolderEvent, FolderImporter, WatchedFolder
from daemon.loop import Loop
from dicomio.files.spool.spool import Spool

__all__ = ["FolderEvent", "FolderWatcher", "WatchedFolder"]

# watchdog says so, with the folder's name, when a folder is removed while it is being added; the rescan covers it
warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)

log = structlog.get_logger(__name__)

RESTART = 60.0
"""Seconds until an observer that died is tried again; meanwhile everything is scanned regularly."""

RESCAN = 5.0
"""Seconds between two looks at everything in a folder."""


class FolderWatcher:
    """Imports files from folders into the spool. A context manager: its threads run from enter to exit.

    Args:
        folders: The folders; one that is missing is waited for.
        spool: Where the files go.
        on_event: Called, from a thread of the watcher, for each file that was dealt with.
        rescan: Seconds between two looks at everything in a folder.

    Raises:
        NotRunnable: One of the folders is inside another one, inside the spool, or around it.
    """

    def __init__(
        self,
        folders: Sequence[WatchedFolder],
        spool: Spool,
        on_event: Callable[[FolderEvent], object] = lambda event: None,
        *,
        rescan: float = RESCAN,
    ) -> None:
        _check_apart([folder.path for folder in folders], spool.root)
        self.loops: list[Loop] = []
        self._stopping = threading.Event()
        self._watches = [
            _ObservedFolder(FolderImporter(folder, spool, on_event, rescan=rescan, stopping=self._stopping))
            for folder in folders
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for watch in self._watches:
                stack.callback(watch.stop_observing)
                settle = watch.importer.folder.settle
                pause = min(0.5, max(0.05, settle / 5))
                name = f"watch-{watch.importer.folder.path.name}"
                loop = Loop(name, watch.step, interval=pause, notice=watch.notice)
                self.loops.append(stack.enter_context(loop))
            stack.callback(self._stopping.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class _ObservedFolder:
    """A folder and, while it is there, the watchdog on it."""

    def __init__(self, importer: FolderImporter) -> None:
        self.importer = importer
        self._observer: Any = None
        self._observed: tuple[int, int] | None = None
        self._is_unobserved = False
        self._again = 0.0

    def step(self) -> bool:
        """Observe the folder that is there now, and import from it."""
        found = _identity(self.importer.folder.path)
        if found != self._observed:
            self.stop_observing()
            self._observed = found
            if found is not None:
                self._observe()
        elif self._observer is not None and _is_dead(self._observer):
            self._end_observer()
            self._note_unobserved("its observer ended")
        elif self._is_unobserved and time.monotonic() >= self._again:
            self._observe()
        return self.importer.step()

    def notice(self) -> str:
        """What a person should know about it; '' for nothing."""
        return "scanned regularly, because it cannot be observed" if self._is_unobserved else ""

    def stop_observing(self) -> None:
        """Let the observer's threads end."""
        self._observed, self._is_unobserved = None, False
        self._end_observer()

    def dispatch(self, event: Any) -> None:
        """Called by watchdog: notes where to look."""
        path = event.dest_path or event.src_path
        self.importer.touch(Path(os.fsdecode(path)))

    def _observe(self) -> None:
        """Observe the folder, or try again later: watchdog cannot do so with a thousand folders in each other."""
        folder = str(self.importer.folder.path.absolute())
        try:
            self._observer = Observer()
            self._observer.start()
            self._observer.schedule(self, folder, recursive=True, event_filter=_EVENTS)
        except (OSError, RecursionError) as error:  # too many watches on this machine, or a folder that is gone again
            self._end_observer()
            self._note_unobserved(getattr(error, "strerror", None) or "too many nested folders")
            return
        if self._is_unobserved:
            log.info("folder_observed_again", folder=folder)
        self._is_unobserved = False

    def _end_observer(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None and observer.ident is not None:  # it was started
            observer.stop()
            observer.join()

    def _note_unobserved(self, reason: str) -> None:
        self._again = time.monotonic() + RESTART
        if not self._is_unobserved:
            folder = str(self.importer.folder.path)
            log.warning("folder_not_observed", folder=folder, reason=reason, instead=REGULARLY, next_try_s=RESTART)
        self._is_unobserved = True


REGULARLY = "scanned regularly"


def _is_dead(observer: Any) -> bool:
    """Whether one of its threads has ended by itself; watchdog does not report it."""
    reader = getattr(observer, "_inotify_fd", None)  # a thread too, on Linux
    threads = [observer, *observer.emitters, *([reader] if isinstance(reader, threading.Thread) else [])]
    return not all(thread.is_alive() for thread in threads)


_EVENTS = [DirCreatedEvent, DirMovedEvent, FileClosedEvent, FileCreatedEvent, FileModifiedEvent, FileMovedEvent]
"""Events that may announce a file to import; our own reading and removing is none of them."""


def _identity(folder: Path) -> tuple[int, int] | None:
    """Tells a folder from another one that came in its place, as when a share is mounted; None if it is missing."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _check_apart(folders: Sequence[Path], spool: Path) -> None:
    places = [path.resolve() for path in (*folders, spool)]
    for one, other in combinations(places, 2):
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise NotRunnable(reason=f"one of {one} and {other} is inside the other: choose another folder to watch")
