"""Writes one file into the spool and makes it durable."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import TracebackType
from typing import Self

from dicomio.files.spool.durable import add_name, sync_folder
from dicomio.files.spool.free_space import FreeSpace
from dicomio.files.spool.temporary import FILE_MODE, TemporaryFile

COPY_CHUNK = 1 << 20
CHECK_EVERY = 4 << 20  # bytes written between looks at whether the reserve is still free
_UNSAFE = re.compile(r"[^0-9A-Za-z._-]+")


class SpoolWriter:
    """Writes one file; it is not in the spool before `commit`, and without that leaves nothing behind.

    As a context manager it is discarded on exit unless it was committed or moved.

    Args:
        file: The empty file in tmp/ that is written to.
        incoming: The folder that `commit` moves it to.
        name: What it is called there, without suffix.
        space: Free space of the disk.
    """

    __slots__ = ("_checked", "_fd", "_incoming", "_listed", "_space", "name", "path", "size")

    def __init__(self, file: TemporaryFile, incoming: Path, name: str, space: FreeSpace) -> None:
        self._fd = file.fd
        self._listed = file.listed
        self._incoming = incoming
        self._space = space
        self.name = name
        self.path = file.path
        self.size = 0
        self._checked = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append to the file; raises SpoolFull when the reserve is reached, OSError for other faults of the disk."""
        view = memoryview(data)
        if self.size - self._checked > CHECK_EVERY:
            self._space.require()
            self._checked = self.size
        try:
            written = os.write(self._fd, view)
            while written < len(view):
                written += os.write(self._fd, view[written:])
        except OSError as error:
            raise self._space.explain(error) from error
        self.size += written
        return written

    def commit(self) -> Path:
        """Make the file durable and let it appear in incoming/; when this returns, it survives a power failure."""
        target = self._incoming / f"{self.name}.dcm"
        self.move(target, sync_entry=not self._listed)
        return target

    @property
    def is_open(self) -> bool:
        """Whether it is neither committed nor discarded."""
        return self._fd >= 0

    def discard(self) -> None:
        """Remove the file; does nothing after `commit`."""
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
            raise self._space.explain(error) from error
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


def safe_suffix(suffix: str) -> str:
    """As `safe_name`, for what a file name ends with; may be empty."""
    return _UNSAFE.sub("_", suffix)


def copy_into(writer: SpoolWriter, source: Path) -> None:
    """Append a file's content."""
    with source.open("rb", buffering=0) as stream:
        while chunk := stream.read(COPY_CHUNK):
            writer.write(chunk)
