"""Creates the empty files in tmp/ that images are written to, some of them ahead of time.

An image that arrives then finds its file open and the file's directory entry on the disk already: one flush less.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import stat
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from dicomio.files.spool.durable import sync_folder

FILE_MODE = 0o600
UNFINISHED_MODE = FILE_MODE | stat.S_ISVTX  # the sticky bit means nothing on a file; here: not complete yet


@dataclass(frozen=True)
class TemporaryFile:
    """An empty file in tmp/, open and locked.

    Attributes:
        fd: Open for writing.
        path: Where it is.
        listed: Its directory entry is on the disk already.
    """

    fd: int
    path: Path
    listed: bool


class TemporaryFiles:
    """Makes files in tmp/; safe to use from several threads. Those made ahead are replaced in the background.

    Args:
        folder: Where they lie.
        ahead: How many to make ahead at a time; 0 for writers that are in no hurry.
    """

    def __init__(self, folder: Path, ahead: int) -> None:
        self._folder = folder
        self._ahead = ahead
        self._ready: list[TemporaryFile] = []
        self._lock = threading.Lock()
        self._refilling: threading.Thread | None = None
        self._closed = False
        self._process = secrets.token_hex(8)
        self._count = itertools.count(1)

    def unique_name(self) -> str:
        """A name that no other file of any process has."""
        return f"{self._process}_{next(self._count)}"

    def create(self, *, suffix: str = ".part") -> TemporaryFile:
        """A new file, its directory entry not yet durable."""
        path = self._folder / f"{self.unique_name()}{suffix}"
        return TemporaryFile(fd=open_locked(path), path=path, listed=False)

    def take(self) -> TemporaryFile:
        """A file that was made ahead, or a new one; raises OSError where none can be made."""
        with self._lock:
            ready = self._ready.pop() if self._ready else None
            if len(self._ready) < self._ahead // 2 and self._refilling is None and not self._closed:
                self._begin_refill()
        return self.create() if ready is None else ready

    def close(self) -> None:
        """Remove the files that were not needed."""
        with self._lock:
            self._closed, refilling = True, self._refilling
        if refilling is not None:
            refilling.join()
        while self._ready:
            _remove(self._ready.pop())

    def _begin_refill(self) -> None:
        thread = threading.Thread(target=self._refill, name="spool-files", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no threads left: files are made one by one meanwhile
            return
        self._refilling = thread

    def _refill(self) -> None:
        """Add files; if the disk is full, the next `take` raises the error."""
        made: list[TemporaryFile] = []
        try:
            for _ in range(self._ahead):
                made.append(self.create())
            sync_folder(self._folder)
        except OSError:
            for file in made:
                _remove(file)
            made = []
        with self._lock:
            self._ready += [replace(file, listed=True) for file in made]
            self._refilling = None


def open_locked(path: Path) -> int:
    """A new file, locked for as long as it is open, so that a sweep can tell it from what a dead process left."""
    while True:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, UNFINISHED_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                os.fchmod(fd, UNFINISHED_MODE)  # open(2) obeys the umask
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # a sweep was faster: it saw the file before it was locked


def _remove(file: TemporaryFile) -> None:
    try:
        file.path.unlink(missing_ok=True)
    finally:
        os.close(file.fd)
