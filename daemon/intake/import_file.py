"""One file from outside into the spool: copied, looked at, and then made durable in incoming/ or in quarantine/.

What is looked at is the copy, so that what was checked is what is imported, whatever happens to the original meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import BinaryIO

import structlog

from daemon.intake.settling import Signature
from dicomio.errors import NotDicom, TruncatedFile, UnreadableFile
from dicomio.files.file_meta import PREAMBLE
from dicomio.files.headers import MEDIA_DIRECTORY, Header, header_of
from dicomio.files.identity import identity_of
from dicomio.files.parse_errors import parse_errors_of
from dicomio.files.part10 import parse
from dicomio.files.spool import lost
from dicomio.files.spool.free_space import SpoolFull
from dicomio.files.spool.notes import timestamp
from dicomio.files.spool.spool import Spool
from dicomio.files.spool.writer import COPY_CHUNK, SpoolWriter
from dicomio.files.without_file_meta import BEGINNING, missing_file_meta

log = structlog.get_logger(__name__)

NAME_PREFIX = "taken"
"""How imported files are named in the spool, whose names are logged; their own names may name a patient."""

SUFFIXES = frozenset({".dcm", ".ima", ".zip"})
"""How a file in quarantine may go on being called, for whoever opens it."""

ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")  # the first member, or the end of a zip file without any


@dataclass(frozen=True)
class Imported:
    """What became of a file.

    Attributes:
        images: DICOM files that are in incoming/ now.
        quarantined: Files that are in quarantine/ now.
        stored: Where the images lie in incoming/.
    """

    images: int = 0
    quarantined: int = 0
    stored: tuple[Path, ...] = field(default=(), compare=False)

    def __add__(self, other: Imported) -> Imported:
        stored = self.stored + other.stored
        return Imported(self.images + other.images, self.quarantined + other.quarantined, stored)


class FileChanged(Exception):  # noqa: N818 - nothing is wrong: somebody still writes to the file
    """The file changed while it was read."""


@dataclass(eq=False)
class UnusableFile(Exception):  # noqa: N818 - named by what it is, as the errors of dicomio are
    """A file cannot be used.

    Attributes:
        reason: Why, for whoever put it there.
        kind: The kind of fault, for the log.
        incomplete: It looks cut off; its writer may only be slow.
    """

    reason: str
    kind: str
    incomplete: bool = False

    def __str__(self) -> str:
        return self.reason


class SourceFile:
    """A file to import, or a member of a zip file, open for reading.

    Args:
        stream: Stands at the start; can be rewound.
        name: Base name.
        inside: Base name of the zip file that it is a member of, '' if it is a file of its own.
    """

    def __init__(self, stream: BinaryIO, name: str, inside: str = "") -> None:
        self.stream = stream
        self.name = name
        self.inside = inside
        self.beginning = stream.read(BEGINNING)

    @property
    def is_zip(self) -> bool:
        """Whether it begins as a zip file does; a DICOM file may do so in its preamble."""
        return self.beginning.startswith(ZIP_MARKS) and self.beginning[128:132] != b"DICM"

    def copy_into(self, writer: SpoolWriter, head: bytes = b"") -> None:
        """Write `head` and then the whole file; may be called again."""
        writer.write(head)
        writer.write(self.beginning)
        if self.stream.tell() != len(self.beginning):  # zipfile checks no sums after a seek
            self.stream.seek(len(self.beginning))
        while chunk := self.stream.read(COPY_CHUNK):
            writer.write(chunk)


@contextmanager
def opened(path: Path, signature: Signature) -> Iterator[BinaryIO]:
    """A file for reading, if it still is the regular file that was seen.

    Raises:
        FileChanged: It is not.
        OSError: It cannot be opened.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        check_unchanged(stream, signature)
        yield stream


def check_unchanged(stream: BinaryIO, signature: Signature) -> None:
    """Raises FileChanged if an open file does not look as it did."""
    status = os.fstat(stream.fileno())
    if not stat.S_ISREG(status.st_mode) or Signature.of(status) != signature:
        raise FileChanged


def check_space(spool: Spool, size: int) -> None:
    """Raises SpoolFull if that many bytes do not fit into the spool."""
    free = spool.free_bytes()
    if free - size < spool.reserve:
        raise SpoolFull(free=free, reserve=spool.reserve)


def store(original: SourceFile, spool: Spool, check: Callable[[], None]) -> Imported:
    """Put a DICOM file into incoming/. A DICOMDIR is passed over: the files that it lists come by themselves.

    Args:
        original: The file.
        spool: Where to.
        check: Called before the copy becomes durable; what it raises ends the matter.

    Raises:
        UnusableFile: It is no DICOM file, or not a whole one. Nothing was stored, nor was it with the following.
        SpoolFull: There is no room.
        OSError: It cannot be read, or the spool cannot be written.
    """
    head = missing_file_meta(original.beginning)
    if original.is_zip or head is None:
        raise _no_dicom(original)
    with spool.open_writer(NAME_PREFIX) as writer:
        original.copy_into(writer, head)
        check()
        try:
            header = header_in(writer.path, bare=head not in (b"", PREAMBLE), largest=spool.largest)
        except UnreadableFile as error:
            error.path = Path(original.name)  # the message names the file as its owner knows it
            raise UnusableFile(str(error), type(error).__name__, isinstance(error, TruncatedFile)) from error
        return Imported(images=1, stored=(writer.commit(),)) if header is not None else Imported()


def quarantine(original: SourceFile, spool: Spool, fault: UnusableFile, check: Callable[[], None]) -> Imported:
    """Put a copy of a file, as it is, into quarantine/ with the reason beside it; errors as `store`.

    Its name and the reason, which names it, stand beside it and not in the log: names of files name patients.
    """
    suffix = PurePath(original.name).suffix.lower()
    reason = f"{fault} It came in {original.inside}." if original.inside else str(fault)
    with spool.open_writer(NAME_PREFIX) as writer:
        original.copy_into(writer)
        check()
        kept = spool.quarantine_unfinished(
            writer, reason, original.name, suffix if suffix in SUFFIXES else "", kind=fault.kind
        )
    log.warning("quarantined", file=kept.name, kind=fault.kind)
    return Imported(quarantined=1)


def header_in(path: Path, *, bare: bool, largest: int) -> Header | None:
    """The header of a DICOM file that the index can use; None of a DICOMDIR, which is passed over.

    Args:
        path: The file, which has its head.
        bare: Its head was made for it.
        largest: Bytes that a deflated data set may inflate to.

    Raises:
        UnreadableFile: It is neither.
    """
    file = parse(path, largest=largest)
    with parse_errors_of(path):
        named = file.dataset.file_meta.get("MediaStorageSOPClassUID")
    if named == MEDIA_DIRECTORY or "DirectoryRecordSequence" in file.dataset:
        return None
    if bare and file.pixels is not None and file.pixels.length is None:
        raise NotDicom(path=path, reason="its pixels are compressed, and without file meta it does not say how")
    return header_of(file)


def note_incomplete(path: Path, spool: Spool) -> None:
    """Tell the index of an image that looks cut off and is waited for: its study is not whole before it is."""
    with suppress(OSError):
        whose = identity_of(path)
        if whose.study_uid or whose.series_uid:
            reason = "is not all there yet in the watched folder"
            spool.note_lost(NAME_PREFIX, lost.note(lost.NOT_FINISHED, reason, whose, timestamp()))


def _no_dicom(original: SourceFile) -> UnusableFile:
    reason = "there is neither the mark DICM at byte 128 nor a data set that names its SOP class and instance"
    if original.is_zip:
        reason = "it is a zip file inside a zip file, which is not unpacked"
    elif not original.beginning:
        reason = "it is empty"
    fault = NotDicom(path=Path(original.name), reason=reason)
    return UnusableFile(str(fault), type(fault).__name__, incomplete=not original.beginning)
