"""One watched folder: files that have settled are imported into the spool, and then removed or noted in the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import structlog

from daemon.intake.archives import unpack
from daemon.intake.import_file import (
    FileChanged,
    Imported,
    SourceFile,
    UnusableFile,
    check_space,
    check_unchanged,
    note_incomplete,
    opened,
    quarantine,
    store,
)
from daemon.intake.imported_files import ImportedFiles
from daemon.intake.reported_errors import ReportedErrors, log_name, raised_at
from daemon.intake.settling import DEEPEST, Settling, Signature, is_ignored, signature_of, walk
from daemon.loop import LONGEST_PAUSE
from dicomio.files.spool.free_space import SpoolFull
from dicomio.files.spool.spool import Spool

log = structlog.get_logger(__name__)

BATCH = 100
"""Files imported in one step, so that the thread can be stopped between two."""

PATIENCE = 6
"""A file that looks cut off is waited for, and an emptied folder stays, this many times the settling time."""

RETRY = 30.0
"""Seconds until a file that could not be read, or for which there was no space, is tried again."""

_SCAN_SHARE = 20  # looking at everything takes at most this part of the time, however slow a network share is


@dataclass(frozen=True)
class WatchedFolder:
    """A folder to import files from.

    Attributes:
        path: The folder; it may come and go, as network shares do.
        settle: Seconds for which size and time of a file must not have changed before it is imported.
        keep: Files stay in the folder, and are noted in the ledger so that they are not imported again.
    """

    path: Path
    settle: float = 5.0
    keep: bool = False


@dataclass(frozen=True)
class FolderEvent:
    """A file was dealt with.

    Attributes:
        folder: The watched folder.
        name: Base name of the file; it may name a patient.
        imported: What became of it.
    """

    folder: Path
    name: str
    imported: Imported


class Stopped(Exception):  # noqa: N818 - no error: the daemon stops
    """The file stays where it is and is imported after the next start."""


class _Incomplete(Exception):  # noqa: N818 - no error yet
    """The file looks cut off; it is waited for so many seconds more."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class FolderImporter:
    """Imports what has settled in one folder. Used by one thread, except `touch`.

    Args:
        folder: The folder.
        spool: Where the files go.
        on_event: Called for each file that was dealt with.
        rescan: Seconds between two looks at everything.
        stopping: Set when a step should end soon.
    """

    def __init__(
        self,
        folder: WatchedFolder,
        spool: Spool,
        on_event: Callable[[FolderEvent], object],
        *,
        rescan: float,
        stopping: Event,
    ) -> None:
        self.folder = folder
        self._root = folder.path.absolute()
        self._spool = spool
        self._on_event = on_event
        self._rescan = rescan
        self._stopping = stopping
        self._next_scan = 0.0
        self._settling = Settling(folder.settle)
        self._touched: set[Path] = set()
        self._errors = ReportedErrors(self._root)
        self._imported = ImportedFiles(
            self._root, spool.root, self._errors, keep=folder.keep, delay=PATIENCE * folder.settle
        )

    def touch(self, path: Path) -> None:
        """Something happened to this file or folder; safe to call from any thread."""
        self._touched.add(path)

    def step(self) -> bool:
        """Look at what changed, at everything if it is time to, and import a batch of what has settled.

        Returns:
            There is more to do at once.
        """
        if time.monotonic() >= self._next_scan:
            self._scan()
        else:
            self._look_at_touched()
        return self._import_batch()

    def _scan(self) -> None:
        began = time.monotonic()
        self._touched.clear()
        try:
            present = dict(walk(self._root, lambda path, error: self._errors.report("folder_unreadable", path, error)))
        except OSError as error:  # not mounted, renamed, no permission: files have to settle anew when it comes back
            self._errors.report("watched_folder_missing", self._root, error)
            self._settling.forget_all_but(())
            present = None
        if present is not None:
            self._errors.resolve("watched_folder_missing", self._root)
            self._observe_all(present)
        now = time.monotonic()
        self._next_scan = now + max(self._rescan, _SCAN_SHARE * (now - began))

    def _observe_all(self, present: dict[Path, Signature]) -> None:
        self._imported.prune(present.items())
        self._errors.forget(lambda path: path not in present and not path.is_dir())
        self._settling.forget_all_but(present)
        for path, signature in present.items():
            self._observe(path, signature)
        self._imported.remove_emptied()

    def _look_at_touched(self) -> None:
        while self._touched:
            path = self._touched.pop()
            with suppress(OSError):  # what cannot be seen now is looked for when everything is
                if self._is_ours(path):
                    self._look_again(path)

    def _look_again(self, path: Path) -> None:
        found = signature_of(path)
        if found is not None:
            self._observe(path, found)
            return
        self._settling.forget(path)
        if path.is_dir() and not path.is_symlink():
            for each, signature in walk(path, lambda *_: None):
                self._observe(each, signature)

    def _is_ours(self, path: Path) -> bool:
        """Whether `walk` would come to this path: nothing on the way is left alone or a link."""
        if path == self._root or not path.is_relative_to(self._root):
            return False
        way = path.parent.relative_to(self._root)
        if len(way.parts) > DEEPEST:
            return False
        if any(map(is_ignored, (*way.parts, path.name))):
            return False
        return path.parent.resolve() == self._root.resolve() / way

    def _observe(self, path: Path, signature: Signature) -> None:
        if (path, signature) not in self._imported:
            self._settling.observe(path, signature)
        elif not self.folder.keep and not self._imported.remove(path, signature):
            self.touch(path)

    def _import_batch(self) -> bool:
        due = self._settling.due()
        total, count = Imported(), 0
        for path, signature in due[:BATCH]:
            if self._stopping.is_set() or self._is_full():
                return False
            taken = self._import_file(path, signature)
            if taken is not None:
                total, count = total + taken, count + 1
        if count:
            log.info(
                "files_imported",
                folder=str(self._root),
                files=count,
                images=total.images,
                quarantined=total.quarantined,
            )
        return len(due) > BATCH

    def _import_file(self, path: Path, signature: Signature) -> Imported | None:
        """Import one file; None if it stays for now."""
        try:
            taken = self._into_spool(path, signature)
        except (Stopped, FileNotFoundError, NotADirectoryError):
            self._settling.forget(path)
        except FileChanged:
            self._settling.forget(path)
            self.touch(path)
        except _Incomplete as wait:
            self._settling.postpone(path, wait.seconds)
        except SpoolFull as error:
            self._postpone("spool_full", path, error)
        except OSError as error:
            self._postpone("file_unreadable", path, error)
        except Exception as error:  # our fault; the other files of the folder are imported nevertheless
            file = log_name(path, self._root)
            log.error(
                "file_not_imported",
                folder=str(self._root),
                file=file,
                error=type(error).__name__,
                where=raised_at(error),
            )
            self._settling.postpone(path, LONGEST_PAUSE)
        else:
            self._finish(path, signature, taken)
            return taken
        return None

    def _into_spool(self, path: Path, signature: Signature) -> Imported:
        with opened(path, signature) as stream:

            def check() -> None:
                if self._stopping.is_set():
                    raise Stopped
                check_unchanged(stream, signature)

            check_space(self._spool, signature.size)
            original = SourceFile(stream, path.name)
            try:
                return (unpack if original.is_zip else store)(original, self._spool, check)
            except UnusableFile as fault:
                wait = PATIENCE * self.folder.settle - self._settling.unchanged_for(path)
                if fault.incomplete and wait > 0:
                    note_incomplete(path, self._spool)
                    raise _Incomplete(wait) from fault
                return quarantine(original, self._spool, fault, check)

    def _finish(self, path: Path, signature: Signature, taken: Imported) -> None:
        self._settling.forget(path)
        self._errors.forget(lambda about: about == path)
        if not self._imported.finish(path, signature):
            self.touch(path)
        self._on_event(FolderEvent(self._root, path.name, taken))

    def _is_full(self) -> bool:
        free = self._spool.free_bytes()
        if free < self._spool.reserve:
            self._errors.report("spool_full", self._root, SpoolFull(free=free, reserve=self._spool.reserve))
            return True
        self._errors.resolve("spool_full", self._root)
        return False

    def _postpone(self, what: str, path: Path, error: Exception) -> None:
        self._errors.report(what, path, error)
        self._settling.postpone(path, RETRY)
