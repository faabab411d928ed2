"""Zip files, member by member into the spool, and no further than a zip file of images can want."""

from __future__ import annotations

import errno
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO, NamedTuple, cast

from daemon.intake.import_file import Imported, SourceFile, UnusableFile, check_space, quarantine, store
from daemon.intake.settling import is_ignored
from dicomio.files.spool.spool import Spool

BAD_ZIP = "BadZip"
SINGLE_FAULTS = 20
"""So many members that are no images go to quarantine one by one; of more, the zip file goes as a whole."""

_TOLD_FAULTS = 10
_UNDERSTOOD = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # of other kinds, zipfile inflates in memory without a bound
_ENCRYPTED = 1
# What zipfile and zlib raise on arbitrary bytes; RuntimeError includes NotImplementedError, ValueError a bad name.
_DAMAGE = (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, ValueError, struct.error)


@dataclass(frozen=True)
class ZipLimits:
    """How large a zip file of images may get; what goes beyond is a bomb or a mistake, and is not unpacked at all.

    Attributes:
        members: Number of members.
        total_bytes: Of all members, unpacked.
        ratio: Unpacked to packed; segmentations of empty slices shrink a thousandfold, whole studies do not.
        ratio_from: Bytes unpacked below which any ratio will do.
        directory_bytes: Of the table of contents, which is held in memory.
    """

    members: int = 50_000
    total_bytes: int = 64 << 30
    ratio: float = 200.0
    ratio_from: int = 1 << 30
    directory_bytes: int = 8 << 20


LIMITS = ZipLimits()


class _DamagedMember(Exception):  # noqa: N818 - what it is
    """A member cannot be read."""


class _MemberError(NamedTuple):
    """Why a member was not imported. Not an exception: those would keep alive what they passed through.

    `member` is None if it cannot be read either.
    """

    reason: str
    kind: str
    member: zipfile.ZipInfo | None


class _BoundedReads:
    """A file whose readers cannot ask for more at once than the limit; zipfile reads the table of contents at once."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self.tell, self.seekable = stream.tell, stream.seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As the file's own, but a place before the start is the fault of the zip file, not of the disk."""
        try:
            return self._stream.seek(offset, whence)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise zipfile.BadZipFile("it points to a place before its start") from error
            raise

    def read(self, size: int = -1) -> bytes:
        """As the file's own."""
        data = self._stream.read(self._limit + 1 if size < 0 else min(size, self._limit + 1))
        if len(data) > self._limit:
            raise zipfile.BadZipFile("its table of contents is too large")
        return data


def unpack(original: SourceFile, spool: Spool, check: Callable[[], None], limits: ZipLimits = LIMITS) -> Imported:
    """Take the images of a zip file.

    A member that is no image goes to quarantine. If a member cannot even be read, or there is no image at all, the zip
    file goes there as a whole, and the reason says what was imported and what was not; images are imported in any case.

    Args:
        original: The zip file.
        spool: Where to.
        check: Called before anything becomes durable; what it raises ends the import.
        limits: Beyond them nothing is imported.

    Raises:
        UnusableFile: Nothing was imported and nothing quarantined: it is no zip file, cut off, or beyond the limits.
        SpoolFull: There is no space; images may have been imported, and will be copies next time.
        OSError: It cannot be read, or the spool cannot be written.
    """
    packed = original.stream.seek(0, os.SEEK_END)
    with _archive(original, limits) as archive:
        members = _members(archive, original.name, packed, limits)
        check_space(spool, sum(member.file_size for member in members))
        taken, faults = Imported(), []
        for member in members:
            outcome = _take_member(archive, member, original.name, spool, check)
            if isinstance(outcome, Imported):
                taken += outcome
            else:
                faults.append(outcome)
        if taken.images and len(faults) <= SINGLE_FAULTS and all(fault.member for fault in faults):
            return taken + _quarantine_members(archive, faults, original.name, spool, check)
    check_space(spool, packed)
    whole = UnusableFile(_summary(original.name, taken.images, faults), BAD_ZIP)
    return taken + quarantine(original, spool, whole, check)


def _take_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, inside: str, spool: Spool, check: Callable[[], None]
) -> Imported | _MemberError:
    try:
        with _member(archive, member, inside) as original:
            return store(original, spool, check)
    except UnusableFile as fault:
        return _MemberError(fault.reason, fault.kind, member)
    except _DamagedMember as damage:
        return _MemberError(str(damage), BAD_ZIP, None)


@contextmanager
def _archive(original: SourceFile, limits: ZipLimits) -> Iterator[zipfile.ZipFile]:
    careful = cast("IO[bytes]", _BoundedReads(original.stream, limits.directory_bytes))
    try:
        archive = zipfile.ZipFile(careful)
    except _DAMAGE as error:
        reason = f"{original.name} cannot be unpacked: {_message(error)}."
        raise UnusableFile(reason, BAD_ZIP, incomplete=True) from error
    with archive:
        yield archive


def _members(archive: zipfile.ZipFile, name: str, packed: int, limits: ZipLimits) -> list[zipfile.ZipInfo]:
    """The members that are files, with ordinary names.

    That what they unpack to is bounded needs no counting later: zipfile reads no more of a member than it declares.

    Raises:
        UnusableFile: Beyond the limits.
    """
    infos = archive.infolist()
    total = sum(info.file_size for info in infos)
    if len(infos) > limits.members:
        raise UnusableFile(f"{name} has {len(infos)} members, more than {limits.members}.", BAD_ZIP)
    if total > limits.total_bytes or total > max(limits.ratio_from, limits.ratio * packed):
        raise UnusableFile(f"{name} would unpack from {packed} to {total} bytes, which no study does.", BAD_ZIP)
    return [info for info in infos if _is_file(info) and not any(map(is_ignored, _parts(info)))]


def _is_file(info: zipfile.ZipInfo) -> bool:
    return bool(_parts(info)) and not info.filename.endswith(("/", "\\"))


@contextmanager
def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, inside: str) -> Iterator[SourceFile]:
    name = _parts(member)[-1]
    if member.flag_bits & _ENCRYPTED:
        raise _DamagedMember(f"{name} is encrypted.")
    if member.compress_type not in _UNDERSTOOD:
        raise _DamagedMember(f"{name} is compressed in another way than deflate.")
    try:
        with archive.open(member) as stream:
            yield SourceFile(cast("BinaryIO", stream), name, inside)
    except _DAMAGE as error:
        raise _DamagedMember(f"{name} is damaged: {_message(error)}.") from error


def _quarantine_members(
    archive: zipfile.ZipFile, faults: list[_MemberError], inside: str, spool: Spool, check: Callable[[], None]
) -> Imported:
    taken = Imported()
    for fault in faults:
        if fault.member is not None:
            with _member(archive, fault.member, inside) as original:
                taken += quarantine(original, spool, UnusableFile(fault.reason, fault.kind), check)
    return taken


def _summary(name: str, images: int, faults: list[_MemberError]) -> str:
    if not faults:
        return f"{name} contains no DICOM file."
    told = " ".join(fault.reason for fault in faults[:_TOLD_FAULTS])
    more = f" And {len(faults) - _TOLD_FAULTS} more." if len(faults) > _TOLD_FAULTS else ""
    return f"{images} images of {name} were imported, {len(faults)} of its members were not. {told}{more}"


def _parts(member: zipfile.ZipInfo) -> list[str]:
    return [part for part in re.split(r"[/\\]", member.filename) if part not in {"", ".", ".."}]


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__
