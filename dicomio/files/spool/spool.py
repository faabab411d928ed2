"""The spool: the truth about what was received, one complete file per receipt.

    tmp/           <name>.part           being written, locked by its writer
    incoming/      <name>.dcm            complete and durable, waiting for the indexer
    associations/  <id>.json             one record per association that ended
    studies/       study/series/sop.dcm  where the indexer puts files; the name in incoming/ goes when they have a row
    quarantine/    <name>                what could not be used, with <name>.reason.json beside it
    lost/          <name>.json           whose that was, or what was cut off or refused: notes for the indexer
    indexed                              number of the newest row that the database had
    installation.json                    which database belongs to it

What `Part.commit` returned for survives a power failure. That takes the file, its inode and a directory entry on the
disk, and each flush of the disk may take milliseconds, which the sender waits for. So a spool with a `stock` prepares
empty files in tmp/, makes their entries durable many at once, and a receipt costs one flush instead of two. After a
crash, `sweep` finds what was finished but not yet (or not durably) renamed, knows it by its mode, and moves it to
incoming/; what was not finished it removes.

Listener processes use this module, so it imports next to nothing.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import secrets
import stat
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dicomio.errors import NotDicom
from dicomio.files.file_meta import read_file_meta
from dicomio.files.identity import identity_of
from dicomio.files.inflate import LARGEST_INFLATED
from dicomio.files.spool import lost
from dicomio.files.spool.durable import FOLDER_MODE, add_name, make_folder, move, remove_copies, sync_folder
from dicomio.files.spool.prepared import PreparedFiles
from dicomio.files.spool.writer import (
    COPY_CHUNK,
    FILE_MODE,
    OUT_OF_SPACE,
    Part,
    PreparedFile,
    SpoolFull,
    copy_into,
    open_locked,
    safe_name,
)

__all__ = [
    "COPY_CHUNK",
    "FILE_MODE",
    "FOLDER_MODE",
    "OUT_OF_SPACE",
    "RESERVE_BYTES",
    "Part",
    "Spool",
    "SpoolFull",
    "copy_into",
    "safe_name",
    "sync_folder",
    "timestamp",
]

RESERVE_BYTES = 256 << 20  # kept free, so that the database and the results still find room when the disk fills up


class Spool:
    """The spool's folders; made, readable by nobody else, when they are not there. Safe to use from several threads.

    Args:
        root: The spool's folder; one file system, because files move inside it by rename.
        reserve: Bytes that must stay free on that file system; below it nothing is taken (SpoolFull).
        stock: How many empty files to prepare at a time; 0 for writers that are in no hurry.
        largest: Bytes that a deflated data set may inflate to; asked for by whoever reads what is in the spool.
    """

    def __init__(
        self, root: Path, *, reserve: int = RESERVE_BYTES, stock: int = 0, largest: int = LARGEST_INFLATED
    ) -> None:
        self.root = root
        self.reserve = reserve
        self.largest = largest
        self.tmp = root / "tmp"
        self.incoming_folder = root / "incoming"
        self.associations_folder = root / "associations"
        self.studies_folder = root / "studies"
        self.quarantine_folder = root / "quarantine"
        self.lost_folder = root / "lost"
        for name in ("", "tmp", "incoming", "associations", "studies", "quarantine", "lost"):
            make_folder(root / name)
        self._writer = secrets.token_hex(8)
        self._count = itertools.count(1)
        self._stock = PreparedFiles(self.tmp, self._new_blank, stock) if stock else None

    def __repr__(self) -> str:
        return f"Spool({str(self.root)!r})"

    def open_part(self, hint: str, receipt: str = "") -> Part:
        """A new file to write to.

        Args:
            hint: What the name begins with, normally the SOP Instance UID; made safe for a file name.
            receipt: What makes the name unique; made up when empty.

        Raises:
            SpoolFull: Less than the reserve is free.
        """
        self.require_room()
        try:
            blank = self._stock.take() if self._stock else self._new_blank()
            return Part(self, f"{safe_name(hint)}.{receipt or self._receipt()}", blank)
        except OSError as error:
            raise self.explained(error) from error

    def store(self, source: bytes | Path | Callable[[Part], object], hint: str) -> Path:
        """Put bytes, a copy of a file, or what a function writes into incoming/, durably; returns the path there."""
        with self.open_part(hint) as part:
            if isinstance(source, Path):
                copy_into(part, source)
            elif callable(source):
                source(part)
            else:
                part.write(source)
            return part.commit()

    def store_bytes(self, data: bytes, hint: str) -> Path:
        """Put a whole DICOM file that is in memory into incoming/."""
        return self.store(data, hint)

    def store_file(self, path: Path, hint: str = "") -> Path:
        """Put a copy of a file into incoming/; a copy and no link, because its owner may still change the original."""
        return self.store(path, hint or path.stem)

    def incoming(self) -> list[Path]:
        """The files that wait to be indexed, oldest first; whoever reads them in turn asks once."""
        return _oldest_first(self.incoming_folder, ".dcm")

    def associations(self) -> list[Path]:
        """The records of ended associations, oldest first."""
        return _oldest_first(self.associations_folder, ".json")

    def quarantine(self, path: Path, reason: str, origin: str, *, kind: str = "", association: str = "") -> Path:
        """Move a file of the spool into quarantine/, with the reason beside it; returns the path there.

        First it is noted in lost/ whose it is: a study must not be taken for whole because a crash came in between.

        Args:
            path: The file.
            reason: Why, for people.
            origin: The base name that it had.
            kind: The kind of fault, the name of an error class.
            association: The association that brought it.
        """
        target = self.quarantine_folder / f"{safe_name(path.stem)}.{self._receipt()}{safe_name(path.suffix)}"
        self.note_quarantined(path, target.name, reason.removeprefix(f"{path} "), kind, association)
        move(path, target)
        self.write_reason(target, reason, origin)
        return target

    def note_quarantined(self, path: Path, kept: str, reason: str, kind: str, association: str = "") -> None:
        """Note that a file cannot be used; see `dicomio.files.spool.lost`."""
        how = lost.CUT_OFF if kind == "TruncatedFile" else lost.QUARANTINED
        self.note_lost(kept, lost.note(how, reason, identity_of(path), timestamp(), file=kept, association=association))

    def note_lost(self, name: str, note: Mapping[str, Any]) -> None:
        """Leave a note that something came and could not be used, for the indexer; the name makes it unique."""
        self._write_json(self.lost_folder / f"{safe_name(name)}.{self._receipt()}.json", note)

    def lost(self) -> list[Path]:
        """The notes that wait for the indexer, oldest first."""
        return _oldest_first(self.lost_folder, ".json")

    def write_reason(self, target: Path, reason: str, origin: str) -> None:
        """Write `<target>.reason.json`: why the file is here, the base name that it had, and when."""
        note = {"reason": reason, "origin": Path(origin).name, "time": timestamp()}
        self._write_json(target.with_name(f"{target.name}.reason.json"), note)

    def record_association(self, association_id: str, record: Mapping[str, Any]) -> Path:
        """Write the record of an association that ended."""
        path = self.associations_folder / f"{safe_name(association_id)}.json"
        self._write_json(path, record)
        return path

    def indexed(self) -> int | None:
        """Number of the newest row that a database had for this spool; None if nobody has noted it yet."""
        try:
            return int((self.root / "indexed").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def note_indexed(self, newest: int) -> None:
        """Note the number of the newest row. It may be lost in a power failure: an older number is true as well."""
        self._replace("indexed", str(newest), durable=False)

    def installation(self) -> tuple[str, str] | None:
        """Identifier that the spool shares with its database, and where that was; None if it has none yet."""
        try:
            note = json.loads((self.root / "installation.json").read_text())
            return str(note["id"]), str(note["database"])
        except FileNotFoundError:
            return None

    def belong_to(self, installation: str, database: str) -> None:
        """Write down whose spool this is, durably.

        Args:
            installation: The identifier.
            database: Where the database is, without a password.
        """
        if self.installation() != (installation, database):
            self._replace("installation.json", json.dumps({"id": installation, "database": database}), durable=True)

    @property
    def is_empty(self) -> bool:
        """Whether nothing that was received lies under studies/."""
        return not any(self.studies_folder.iterdir())

    def sweep(self) -> int:
        """Clear tmp/ of what writers left that are gone; safe at any time.

        Returns:
            How many files were finished, and went to incoming/.
        """
        return sum(self._recover(Path(entry.path)) for entry in _files(self.tmp, ""))

    def free_bytes(self) -> int:
        """Bytes that are free for us on the file system of the spool."""
        status = os.statvfs(self.tmp)
        return status.f_bavail * status.f_frsize

    def require_room(self) -> None:
        """Raise SpoolFull if less than the reserve is free."""
        free = self.free_bytes()
        if free < self.reserve:
            raise SpoolFull(free=free, reserve=self.reserve)

    def explained(self, error: OSError) -> Exception:
        """SpoolFull for the ways in which a disk says that it is full, else the error itself."""
        if error.errno in OUT_OF_SPACE:
            return SpoolFull(free=self.free_bytes(), reserve=self.reserve)
        return error

    def close(self) -> None:
        """Remove the prepared files that were not needed."""
        if self._stock is not None:
            self._stock.close()

    def _receipt(self) -> str:
        return f"{self._writer}_{next(self._count)}"

    def _new_blank(self, *, suffix: str = ".part") -> PreparedFile:
        path = self.tmp / f"{self._receipt()}{suffix}"
        return PreparedFile(fd=open_locked(path), path=path, listed=False)

    def _recover(self, path: Path) -> bool:
        """Whether a file in tmp/ was finished, and is in incoming/ now; what has a living writer is left alone."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(fd)
            finished = path.suffix == ".part" and status.st_size > 0 and not status.st_mode & stat.S_ISVTX
            if not finished:
                self._note_unfinished(path, status.st_size)
                os.unlink(path)
                return False
            os.fsync(fd)
            self._move_to_incoming(path)
        except (BlockingIOError, FileNotFoundError):
            return False
        finally:
            os.close(fd)
        return True

    def _note_unfinished(self, path: Path, size: int) -> None:
        """An image that was on its way when its writer died; nobody heard that it was stored."""
        if size > 0 and path.suffix == ".part":
            reason = "was still coming when Scanward was stopped"
            association = _meant_name(path).rpartition(".")[2].partition("-")[0]
            note = lost.note(lost.NOT_FINISHED, reason, identity_of(path), timestamp(), association=association)
            self.note_lost(path.stem, note)

    def _move_to_incoming(self, path: Path) -> None:
        """Moves a finished file to incoming/, under the name that its writer meant to give it."""
        target = self.incoming_folder / f"{_meant_name(path) or path.stem}.dcm"
        try:
            add_name(path, target)
        except FileExistsError:  # the writer died between giving that name and taking this one
            if not target.samefile(path):
                target = self.incoming_folder / f"{path.stem}.dcm"
                add_name(path, target)
        remove_copies([(path, target)])

    def _replace(self, name: str, text: str, *, durable: bool) -> None:
        """Writes a small file of the spool's own anew; a reader finds the old one or the new one."""
        draft = self.root / f"{name}.new"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE), "w") as stream:
            stream.write(f"{text}\n")
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(draft, self.root / name)
        if durable:
            sync_folder(self.root)

    def _write_json(self, target: Path, content: Mapping[str, Any]) -> None:
        with Part(self, target.name, self._new_blank(suffix=".note")) as part:
            part.write(json.dumps(content, indent=1).encode())
            part.move(target, sync_entry=True)


def _meant_name(path: Path) -> str:
    """What a file of the listener was to be called, '' for others: the name says by which association it came."""
    try:
        head = read_file_meta(path)
    except (NotDicom, OSError, struct.error):
        return ""
    return f"{safe_name(head.sop_instance_uid)}.{safe_name(head.receipt)}" if head.receipt else ""


def timestamp() -> str:
    """Now, in UTC, as ISO 8601 with milliseconds."""
    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


def _oldest_first(folder: Path, suffix: str) -> list[Path]:
    found = []
    for entry in _files(folder, suffix):
        try:
            found.append((entry.stat().st_mtime_ns, entry.path))
        except FileNotFoundError:
            continue
    return [Path(path) for _, path in sorted(found)]


def _files(folder: Path, suffix: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False))
