"""Which files of a watched folder may be imported: regular ones, with a final name, that no longer change."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

UNFINISHED_SUFFIXES = (".part", ".tmp", ".filepart", ".partial", ".crdownload", "~")
"""How programs end the name of a file that they have not finished."""

DEEPEST = 64
"""Folders in each other that are looked into; media and archives have a handful."""

_MADE_BY_FILE_MANAGERS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


class Signature(NamedTuple):
    """What changes when a file is written to.

    The inode is no part of it: some network file systems make one up at each look.
    """

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """From what stat(2) says."""
        return cls(status.st_size, status.st_mtime_ns)


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is passed over: hidden, temporary, or made by a file manager."""
    lower = name.lower()
    return name.startswith((".", "~")) or lower.endswith(UNFINISHED_SUFFIXES) or lower in _MADE_BY_FILE_MANAGERS


def signature_of(path: Path) -> Signature | None:
    """The signature of a regular file; None for what is no file (any more), a symbolic link, or cannot be seen."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return Signature.of(status) if stat.S_ISREG(status.st_mode) else None


def walk(root: Path, on_error: Callable[[Path, OSError], None]) -> Iterator[tuple[Path, Signature]]:
    """The files below a folder, without those that are left alone; symbolic links are not followed.

    Args:
        root: The folder.
        on_error: Told of each folder below `root` that cannot be read, or is too deep, and is passed over.

    Raises:
        OSError: `root` itself cannot be read.
    """
    folders = [(root, 0)]
    while folders:
        folder, depth = folders.pop()
        try:
            if depth > DEEPEST:
                raise OSError(errno.ELOOP, f"it lies deeper than {DEEPEST} folders")
            with os.scandir(folder) as entries:
                found = [entry for entry in entries if not is_ignored(entry.name)]
        except OSError as error:
            if folder == root:
                raise
            if not isinstance(error, FileNotFoundError):
                on_error(folder, error)
            continue
        folders += [(Path(entry.path), depth + 1) for entry in found if entry.is_dir(follow_symlinks=False)]
        for entry in found:
            if entry.is_file(follow_symlinks=False):
                with suppress(OSError):  # gone, or a folder that may be listed but not entered
                    yield Path(entry.path), Signature.of(entry.stat(follow_symlinks=False))


@dataclass
class _Observation:
    signature: Signature
    since: float
    due: float


class Settling:
    """Notes since when each file has not changed.

    What counts is our own clock between two looks: the time of a file on a network share is that of another machine.

    Args:
        settle: Seconds that a file must not have changed before it is due.
    """

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._observations: dict[Path, _Observation] = {}

    def observe(self, path: Path, signature: Signature) -> None:
        """Note what a file looks like now."""
        known = self._observations.get(path)
        if known is None or known.signature != signature:
            now = time.monotonic()
            self._observations[path] = _Observation(signature, now, now + self._settle)

    def due(self) -> list[tuple[Path, Signature]]:
        """The files that may be imported now, ordered by path."""
        now = time.monotonic()
        return sorted((path, seen.signature) for path, seen in self._observations.items() if seen.due <= now)

    def unchanged_for(self, path: Path) -> float:
        """Seconds for which a file is known to look the same."""
        return time.monotonic() - self._observations[path].since

    def postpone(self, path: Path, seconds: float) -> None:
        """Let a file not be due before that many seconds have passed."""
        self._observations[path].due = time.monotonic() + seconds

    def forget(self, path: Path) -> None:
        """The file was imported, or is gone."""
        self._observations.pop(path, None)

    def forget_all_but(self, paths: Collection[Path]) -> None:
        """Only these files are there."""
        for path in self._observations.keys() - set(paths):
            del self._observations[path]
