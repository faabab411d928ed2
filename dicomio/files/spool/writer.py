"""One file on its way into the spool, and how it becomes durable."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dicomio.errors import DicomError
from dicomio.files.spool.durable import add_name, sync_folder

if TYPE_CHECKING:
    from dicomio.files.spool.spool import Spool

FILE_MODE = 0o600
UNFINISHED_MODE = FILE_MODE | stat.S_ISVTX  # the sticky bit means nothing on a file; here: not complete yet
COPY_CHUNK = 1 << 20
CHECK_EVERY = 4 << 20  # bytes written between looks at whether the reserve is still free
OUT_OF_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_UNSAFE = re.compile(r"[^0-9A-Za-z._-]+")


@dataclass(eq=False, kw_only=True)
class SpoolFull(DicomError):  # noqa: N818 - named as the others in dicomio/errors.py
    """The disk of the spool is full: {free} bytes are free, {reserve} have to stay free. Nothing was stored.

    Attributes:
        free: Bytes that are free on the file system of the spool.
        reserve: Bytes that have to stay free.
    """

    free: int
    reserve: int


@dataclass(frozen=True)
class PreparedFile:
    """An empty file in tmp/, open and locked.

    Attributes:
        fd: Open for writing.
        path: Where it is.
        listed: Its directory entry is on the disk already.
    """

    fd: int
    path: Path
    listed: bool


class Part:
    """A file on its way into the spool; it is not there before `commit`, and leaves nothing behind without it.

    As a context manager it is discarded on exit unless it was committed or quarantined.
    """

    __slots__ = ("_checked", "_fd", "_listed", "_spool", "name", "path", "size")

    def __init__(self, spool: Spool, name: str, blank: PreparedFile) -> None:
        self._spool = spool
        self._fd = blank.fd
        self._listed = blank.listed
        self.name = name
        self.path = blank.path
        self.size = 0
        self._checked = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append to the file; raises SpoolFull when the reserve is reached, OSError for other faults of the disk."""
        view = memoryview(data)
        if self.size - self._checked > CHECK_EVERY:
            self._spool.require_room()
            self._checked = self.size
        try:
            written = os.write(self._fd, view)
            while written < len(view):
                written += os.write(self._fd, view[written:])
        except OSError as error:
            raise self._spool.explained(error) from error
        self.size += written
        return written

    def commit(self) -> Path:
        """Make the file durable and let it appear in incoming/; when this returns, it survives a power failure."""
        target = self._spool.incoming_folder / f"{self.name}.dcm"
        self.move(target, sync_entry=not self._listed)
        return target

    @property
    def is_open(self) -> bool:
        """Whether it is neither committed nor discarded."""
        return self._fd >= 0

    def quarantine(self, reason: str, origin: str, suffix: str = ".dcm", *, kind: str = "") -> Path:
        """Make the file durable in quarantine/ instead, with the reason beside it; see `Spool.quarantine`."""
        target = self._spool.quarantine_folder / f"{self.name}{_UNSAFE.sub('_', suffix)}"
        self._spool.note_quarantined(self.path, target.name, reason.removeprefix(f"{origin} "), kind)
        self.move(target, sync_entry=True)
        self._spool.write_reason(target, reason, origin)
        return target

    def discard(self) -> None:
        """Forget the file; does nothing after `commit`."""
        if self._fd >= 0:
            try:
                self.path.unlink(missing_ok=True)
            finally:
                self._close()

    def move(self, target: Path, *, sync_entry: bool) -> None:
        """Make the contents durable under another name in the spool, and if `sync_entry` that name too.

        Never over a file that is there already: FileExistsError.
        """
        try:
            os.fchmod(self._fd, FILE_MODE)
            os.fsync(self._fd)
            add_name(self.path, target)
            os.unlink(self.path)
            if sync_entry:
                sync_folder(target.parent)
        except OSError as error:
            raise self._spool.explained(error) from error
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()


def safe_name(name: str) -> str:
    """A name that comes from outside, as part of a file name: no separators, no leading dots, at most 80 characters."""
    return _UNSAFE.sub("_", name).lstrip("._")[:80] or "unnamed"


def copy_into(part: Part, source: Path) -> None:
    """Append a file's content to `part`."""
    with source.open("rb", buffering=0) as stream:
        while chunk := stream.read(COPY_CHUNK):
            part.write(chunk)


def open_locked(path: Path) -> int:
    """A new file, locked for as long as it is open, so that a sweeper can tell it from rubbish."""
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
        os.close(fd)  # a sweeper was faster: it saw the file before it was locked
