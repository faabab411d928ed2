"""What can go wrong between DICOM and us, by whose fault it is.

    DicomError
    ├── BadInput                        what came is at fault; trying again gives the same
    │   ├── UnreadableFile              one file
    │   │   ├── NotDicom
    │   │   ├── TruncatedFile
    │   │   ├── MissingAttribute
    │   │   ├── InvalidAttribute
    │   │   ├── TooLarge
    │   │   └── UnreadableHeader
    │   ├── GeometryRefused             a series that is not one regular volume: see dicomio/volumes/refusals.py
    │   └── RegistrationFailed          two volumes that cannot be laid on each other
    ├── SpoolFull                       our disk has no room: see dicomio/files/spool/spool.py
    ├── ListenerFailed                  our port cannot be had: see dicomio/network/listener/supervisor.py
    ├── PeerRefused                     the other side said no; somebody has to change a setting
    ├── PeerUnreachable                 the other side did not answer; worth another try
    └── EncodingFault                   we wrote something wrong: our bug, never delivered
        └── ReadBackMismatch

The docstring of a class is its message (up to "Attributes:"), filled in with the data that the exception carries; an
exception is made with keywords, can be pickled (workers send them home) and never carries a patient's name.
"""

# ruff: noqa: N818 - the name says what happened and whose fault it is; that it is an error, the tree says

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECTIONS = ("Attributes:", "Args:", "Note:")


@dataclass(eq=False, kw_only=True)
class DicomError(Exception):
    """DICOM input or output failed."""

    def __str__(self) -> str:
        return _message(type(self)).format_map(_Fields(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).__new__, (type(self),), vars(self)


class _Fields(dict[str, Any]):
    """The attributes and properties of an exception, as `str.format_map` asks for them."""

    def __init__(self, error: DicomError) -> None:
        super().__init__()
        self.error = error

    def __missing__(self, name: str) -> Any:
        return getattr(self.error, name)


def _message(error: type[DicomError]) -> str:
    """The docstring of an error as one line, without the part that describes its attributes."""
    lines = (inspect.cleandoc(error.__doc__ or error.__name__)).splitlines()
    for number, line in enumerate(lines):
        if line.strip() in _SECTIONS:
            lines = lines[:number]
            break
    return " ".join(line.strip() for line in lines if line.strip())


class BadInput(DicomError):
    """What came in cannot be used."""


@dataclass(eq=False, kw_only=True)
class UnreadableFile(BadInput):
    """{path} cannot be read.

    Attributes:
        path: The file that is at fault.
    """

    path: Path


@dataclass(eq=False, kw_only=True)
class NotDicom(UnreadableFile):
    """{path} is not a DICOM file: {reason}."""

    reason: str


@dataclass(eq=False, kw_only=True)
class TruncatedFile(UnreadableFile):
    """{path} is cut off: {what} should end at byte {expected}, the file ends at byte {found}. Send the image again.

    Attributes:
        what: The element that is incomplete.
        expected: Where that element should end, in bytes from the start of the file.
        found: Size of the file in bytes.
    """

    what: str
    expected: int
    found: int


@dataclass(eq=False, kw_only=True)
class MissingAttribute(UnreadableFile):
    """{path} has no {keyword}, which is required here.

    Attributes:
        keyword: DICOM keyword of the attribute that is missing or empty.
    """

    keyword: str


@dataclass(eq=False, kw_only=True)
class InvalidAttribute(UnreadableFile):
    """{path} has an unusable {keyword}: {reason}.

    Attributes:
        keyword: DICOM keyword of the attribute.
        reason: What is wrong with its value; never the value of an attribute that could name a patient.
    """

    keyword: str
    reason: str


@dataclass(eq=False, kw_only=True)
class TooLarge(UnreadableFile):
    """{path} is too large: {what} to more than the {limit} bytes that are allowed.

    Attributes:
        what: What grows, such as "its data set inflates".
        limit: Bytes that are allowed.
    """

    what: str
    limit: int


@dataclass(eq=False, kw_only=True)
class UnreadableHeader(UnreadableFile):
    """{path} has a header that cannot be read{at}: {reason}.

    Attributes:
        reason: What is wrong; never a value, which could name a patient.
        tag: The element at fault as "(gggg,eeee)", '' if it is not known.
    """

    reason: str
    tag: str = ""

    @property
    def at(self) -> str:
        """Where, in words."""
        return f" at {self.tag}" if self.tag else ""


@dataclass(eq=False, kw_only=True)
class GeometryRefused(BadInput):
    """The series is not one regular volume.

    Attributes:
        series_uid: Series Instance UID of the refused series, '' if it has none.
        besides: What else is wrong with the series, so that nobody mends one fault to be told of the next.
    """

    series_uid: str
    besides: tuple[GeometryRefused, ...] = ()

    def __str__(self) -> str:
        return " Besides: ".join([super().__str__(), *map(str, self.besides)])


@dataclass(eq=False, kw_only=True)
class RegistrationFailed(BadInput):
    """Series {moving_uid} cannot be aligned with series {fixed_uid}: {reason}.

    Attributes:
        moving_uid: Series Instance UID of the volume that was to be moved.
        fixed_uid: Series Instance UID of the volume that it was to be moved onto.
        reason: What went wrong.
    """

    moving_uid: str
    fixed_uid: str
    reason: str


@dataclass(eq=False, kw_only=True)
class PeerRefused(DicomError):
    """{peer} refused: {reason}.

    Attributes:
        peer: AE title and address of the other side.
        reason: What it said.
    """

    peer: str
    reason: str


@dataclass(eq=False, kw_only=True)
class PeerUnreachable(DicomError):
    """{peer} cannot be reached: {reason}.

    Attributes:
        peer: AE title and address of the other side.
        reason: What the network said.
    """

    peer: str
    reason: str


@dataclass(eq=False, kw_only=True)
class EncodingFault(DicomError):
    """{what} that we wrote is wrong and was not delivered: {reason}.

    Attributes:
        what: The object, such as "the segmentation".
        reason: What is wrong with it.
    """

    what: str
    reason: str


@dataclass(eq=False, kw_only=True)
class ReadBackMismatch(EncodingFault):
    """{what} does not read back as it was written and was not delivered: {reason}."""
