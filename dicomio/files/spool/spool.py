"""The spool: the folders that received files go to, one complete file per receipt.

    tmp/           <name>.part           being written, locked by its writer
    incoming/      <name>.dcm            complete and durable, waiting for the indexer
    associations/  <id>.json             one record per association that ended
    studies/       study/series/sop.dcm  where the indexer puts files; the name in incoming/ goes when they have a row
    quarantine/    <name>                what could not be used, with <name>.reason.json beside it
    lost/          <name>.json           which image that was, or what was cut off or refused: notes for the indexer
    indexed                              number of the newest row that the database had
    installation.json                    which database belongs to it

What `SpoolWriter.commit` returned for survives a power failure. That takes the file, its inode and a directory entry
on the disk, and each flush of the disk may take milliseconds, which the sender waits for. So a spool can make empty
files `ahead` and make their entries durable many at once; a receipt then costs one flush instead of two. After a crash,
`sweep` finds what was finished but not yet (or not durably) renamed, knows it by its mode, and moves it to incoming/;
what was not finished it removes.

Listener processes use this module, so it imports next to nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dicomio.files.inflate import LARGEST_INFLATED
from dicomio.files.spool.durable import make_folder, move
from dicomio.files.spool.free_space import RESERVE_BYTES, FreeSpace
from dicomio.files.spool.notes import SpoolNotes
from dicomio.files.spool.owner import SpoolOwner
from dicomio.files.spool.sweep import recover
from dicomio.files.spool.temporary import TemporaryFiles
from dicomio.files.spool.writer import SpoolWriter, copy_into, safe_name, safe_suffix


class Spool:
    """The spool's folders, created (mode 0700) if missing. Safe to use from several threads.

    Args:
        root: The spool's folder; one file system, because files move inside it by rename.
        reserve: Bytes that must stay free on that file system; below it nothing is taken (SpoolFull).
        ahead: How many empty files to make ahead at a time; 0 for writers that are in no hurry.
        largest: Bytes that a deflated data set may inflate to, for readers of the spool.

    Attributes:
        owner: Which database the spool belongs to.
    """

    def __init__(
        self, root: Path, *, reserve: int = RESERVE_BYTES, ahead: int = 0, largest: int = LARGEST_INFLATED
    ) -> None:
        self.root = root
        self.largest = largest
        self.tmp = root / "tmp"
        self.incoming_folder = root / "incoming"
        self.associations_folder = root / "associations"
        self.studies_folder = root / "studies"
        self.quarantine_folder = root / "quarantine"
        self.lost_folder = root / "lost"
        for name in ("", "tmp", "incoming", "associations", "studies", "quarantine", "lost"):
            make_folder(root / name)
        self.owner = SpoolOwner(root)
        self._space = FreeSpace(self.tmp, reserve)
        self._files = TemporaryFiles(self.tmp, ahead)
        self._notes = SpoolNotes(root, self._files, self._space)

    def __repr__(self) -> str:
        return f"Spool({str(self.root)!r})"

    @property
    def reserve(self) -> int:
        """Bytes that must stay free."""
        return self._space.reserve

    @reserve.setter
    def reserve(self, reserve: int) -> None:
        self._space.reserve = reserve

    def free_bytes(self) -> int:
        """Bytes that are free for us on the file system of the spool."""
        return self._space.free_bytes()

    def open_writer(self, hint: str, receipt: str = "") -> SpoolWriter:
        """A new file to write to.

        Args:
            hint: What the name begins with, normally the SOP Instance UID; made safe for a file name.
            receipt: What makes the name unique; made up when empty.

        Raises:
            SpoolFull: Less than the reserve is free.
        """
        self._space.require()
        try:
            name = f"{safe_name(hint)}.{receipt or self._files.unique_name()}"
            return SpoolWriter(self._files.take(), self.incoming_folder, name, self._space)
        except OSError as error:
            raise self._space.explain(error) from error

    def store(self, source: bytes | Path | Callable[[SpoolWriter], object], hint: str = "") -> Path:
        """Put a whole DICOM file into incoming/, durably.

        Args:
            source: Its bytes, a file to copy (not to link: its owner may still change it), or what writes it.
            hint: See `open_writer`; by default the name of the file that is copied.

        Returns:
            The path in incoming/.
        """
        with self.open_writer(hint or (source.stem if isinstance(source, Path) else "")) as writer:
            if isinstance(source, Path):
                copy_into(writer, source)
            elif callable(source):
                source(writer)
            else:
                writer.write(source)
            return writer.commit()

    def incoming(self) -> list[Path]:
        """The files that wait to be indexed, oldest first."""
        return _oldest_first(self.incoming_folder, ".dcm")

    def associations(self) -> list[Path]:
        """The records of ended associations, oldest first."""
        return _oldest_first(self.associations_folder, ".json")

    def lost(self) -> list[Path]:
        """The notes on lost images that wait for the indexer, oldest first."""
        return _oldest_first(self.lost_folder, ".json")

    def quarantine(self, path: Path, reason: str, origin: str, *, kind: str = "", association: str = "") -> Path:
        """Move a file of the spool into quarantine/, with the reason beside it; returns the path there.

        First it is noted in lost/ which image it was: a study must not be taken for whole because a crash came between.

        Args:
            path: The file.
            reason: Why, for people.
            origin: The base name that it had.
            kind: The kind of fault, the name of an error class.
            association: The association that brought it.
        """
        name = f"{safe_name(path.stem)}.{self._files.unique_name()}{safe_name(path.suffix)}"
        target = self.quarantine_folder / name
        self._notes.write_quarantined(path, target.name, reason.removeprefix(f"{path} "), kind, association)
        move(path, target)
        self._notes.write_reason(target, reason, origin)
        return target

    def quarantine_unfinished(
        self, writer: SpoolWriter, reason: str, origin: str, suffix: str = ".dcm", *, kind: str = ""
    ) -> Path:
        """Make a file that is being written durable in quarantine/ instead of incoming/; see `quarantine`."""
        target = self.quarantine_folder / f"{writer.name}{safe_suffix(suffix)}"
        self._notes.write_quarantined(writer.path, target.name, reason.removeprefix(f"{origin} "), kind)
        writer.move(target, sync_entry=True)
        self._notes.write_reason(target, reason, origin)
        return target

    def note_lost(self, name: str, note: Mapping[str, Any]) -> None:
        """Leave a note (`lost.note`) that something came and could not be used; the name makes it unique."""
        self._notes.write_lost(name, note)

    def record_association(self, association_id: str, record: Mapping[str, Any]) -> Path:
        """Write the record of an association that ended."""
        return self._notes.write_association(association_id, record)

    @property
    def is_empty(self) -> bool:
        """Whether nothing that was received lies under studies/."""
        return not any(self.studies_folder.iterdir())

    def sweep(self) -> int:
        """Clear tmp/ of what dead writers left; safe at any time.

        Returns:
            How many files were finished, and went to incoming/.
        """
        return sum(recover(Path(entry.path), self.incoming_folder, self._notes) for entry in _files(self.tmp, ""))

    def close(self) -> None:
        """Remove the files that were made ahead and not needed."""
        self._files.close()


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
