"""Clears tmp/ after a crash: finished files go to incoming/, unfinished ones are noted as lost and removed."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from pathlib import Path

from dicomio.errors import NotDicom
from dicomio.files.file_meta import read_file_meta
from dicomio.files.identity import identity_of
from dicomio.files.spool import lost
from dicomio.files.spool.durable import add_name, remove_copies
from dicomio.files.spool.notes import SpoolNotes, timestamp
from dicomio.files.spool.writer import safe_name


def recover(path: Path, incoming: Path, notes: SpoolNotes) -> bool:
    """Move a file in tmp/ to incoming/ if it was finished, else remove it; what has a living writer is left alone.

    Returns:
        Whether it is in incoming/ now.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(fd)
        finished = path.suffix == ".part" and status.st_size > 0 and not status.st_mode & stat.S_ISVTX
        if not finished:
            _note_unfinished(path, status.st_size, notes)
            os.unlink(path)
            return False
        os.fsync(fd)
        _move_to_incoming(path, incoming)
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(fd)
    return True


def _note_unfinished(path: Path, size: int, notes: SpoolNotes) -> None:
    """Note an image that was being received when its writer died; its sender got no success."""
    if size > 0 and path.suffix == ".part":
        reason = "was still coming when Scanward was stopped"
        association = _intended_name(path).rpartition(".")[2].partition("-")[0]
        note = lost.note(lost.NOT_FINISHED, reason, identity_of(path), timestamp(), association=association)
        notes.write_lost(path.stem, note)


def _move_to_incoming(path: Path, incoming: Path) -> None:
    """Under the name that its writer meant to give it."""
    target = incoming / f"{_intended_name(path) or path.stem}.dcm"
    try:
        add_name(path, target)
    except FileExistsError:  # the writer died between giving that name and taking this one
        if not target.samefile(path):
            target = incoming / f"{path.stem}.dcm"
            add_name(path, target)
    remove_copies([(path, target)])


def _intended_name(path: Path) -> str:
    """What a file of the listener was to be called, '' for others: the name says by which association it came."""
    try:
        head = read_file_meta(path)
    except (NotDicom, OSError, struct.error):
        return ""
    return f"{safe_name(head.sop_instance_uid)}.{safe_name(head.receipt)}" if head.receipt else ""
