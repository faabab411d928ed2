"""Renaming and removing received files. No other code does either.

A name is never given over a file that is there already, and nothing is removed before it is proven that another name
of the same file, or another file with the same data set, is on the disk. A path is no proof: a folder that was renamed,
or that is reached by a symbolic link, gives one file two paths.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dicomio.errors import DicomError
from dicomio.files.digest import content_digest

FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
_CHUNK = 1 << 20


@dataclass(eq=False, kw_only=True)
class LastCopy(DicomError):  # noqa: N818 - named as the others in dicomio/errors.py
    """A file was to be removed as a copy of another one, and that there is another one could not be proven.

    Attributes:
        path: The file; no part of the message, as names of files may name a patient.
        reason: Why it could not be proven that there is another one.
    """

    message: ClassVar[str] = "A received file that looked like a duplicate was kept: {reason}."

    path: Path
    reason: str


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, with mode 0700 whatever the umask."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def add_name(path: Path, name: Path) -> None:
    """Give a file a second name; a durable copy where the file system has no hard links.

    Raises:
        FileExistsError: Something has that name already, and stays.
    """
    try:
        os.link(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _copy(path, name)


def move(path: Path, target: Path) -> None:
    """Give a file another name instead of the one it has, durably; FileExistsError if the name is taken."""
    add_name(path, target)
    refused = remove_copies([(path, target)])
    if refused:
        raise refused[0]


def remove_copies(pairs: Iterable[tuple[Path, Path]]) -> list[LastCopy]:
    """Remove files that there is another copy of; what cannot be proven to be one stays.

    Args:
        pairs: The file to remove, and the copy that is kept: another name of the same file, or a file of its own with
            the same data set. The copy is made durable first.

    Returns:
        One error for each file that stays.
    """
    refused, synced = [], set()
    for path, kept in pairs:
        try:
            if not _is_other_name(path, kept):
                _check_equal(path, kept)
                _sync(kept, os.O_RDONLY)
            if kept.parent not in synced:
                sync_folder(kept.parent)
                synced.add(kept.parent)
        except LastCopy as error:
            refused.append(error)
        except OSError as error:
            refused.append(LastCopy(path=path, reason=f"the copy cannot be read ({error.strerror})"))
        else:
            path.unlink()
    return refused


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _is_other_name(path: Path, kept: Path) -> bool:
    """Whether both are names of one file; LastCopy if they are one name, spelled twice."""
    first, second = os.lstat(path), os.lstat(kept)
    if (first.st_dev, first.st_ino) != (second.st_dev, second.st_ino):
        return False
    if first.st_nlink < 2 or (path.name == kept.name and path.parent.samefile(kept.parent)):
        raise LastCopy(path=path, reason="the copy is the file itself")
    return True


def _check_equal(path: Path, kept: Path) -> None:
    if kept.is_symlink():
        raise LastCopy(path=path, reason="the copy is a symbolic link")
    if content_digest(path) != content_digest(kept):
        raise LastCopy(path=path, reason="the copy has different content")


def _copy(path: Path, name: Path) -> None:
    if name.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    draft = name.with_name(f"{name.name}.copy")
    target = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE)
    with os.fdopen(target, "wb") as copy, path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            copy.write(chunk)
        copy.flush()
        status = os.fstat(stream.fileno())
        os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))  # when it came
        os.fsync(copy.fileno())
    os.rename(draft, name)
    sync_folder(name.parent)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
