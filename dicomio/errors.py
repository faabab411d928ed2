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
    │   ├── GeometryRefused             a series that is not one regular volume: see dicomio/volumes/refusals/
    │   └── RegistrationFailed          two volumes that cannot be laid on each other
    ├── SpoolFull                       our disk has no room: see dicomio/files/spool/free_space.py
    ├── LastCopy                        a file that must not be removed: see dicomio/files/spool/durable.py
    ├── ListenerFailed                  our port cannot be had: see dicomio/network/listener/supervisor.py
    ├── PeerRefused                     the other side said no; somebody has to change a setting
    ├── PeerUnreachable                 the other side did not answer; worth another try
    └── EncodingFault                   we wrote something wrong: our bug, never delivered
        └── ReadBackMismatch

No message carries a patient's name.
"""

# ruff: noqa: N818 - the name says what happened and whose fault it is; that it is an error, the tree says

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from scanward_errors import ScanwardError


@dataclass(eq=False, kw_only=True)
class DicomError(ScanwardError):
    """Reading, writing, sending or receiving DICOM failed."""

    message: ClassVar[str] = "DICOM input or output failed."


class BadInput(DicomError):
    """What came in is at fault. Trying again gives the same."""

    message: ClassVar[str] = "The input cannot be used."


@dataclass(eq=False, kw_only=True)
class UnreadableFile(BadInput):
    """A file that is no usable DICOM file.

    Attributes:
        path: The file that is at fault.
    """

    message: ClassVar[str] = "{path} cannot be read."

    path: Path


@dataclass(eq=False, kw_only=True)
class NotDicom(UnreadableFile):
    """A file that is something else than DICOM.

    Attributes:
        reason: How that was noticed.
    """

    message: ClassVar[str] = "{path} is not a DICOM file: {reason}."

    reason: str


@dataclass(eq=False, kw_only=True)
class TruncatedFile(UnreadableFile):
    """A file that ends within an element.

    Attributes:
        what: The element that is incomplete.
        expected: Where that element should end, in bytes from the start of the file.
        found: Size of the file in bytes.
    """

    message: ClassVar[str] = (
        "{path} is cut off: {what} should end at byte {expected}, the file ends at byte {found}. Send the image again."
    )

    what: str
    expected: int
    found: int


@dataclass(eq=False, kw_only=True)
class MissingAttribute(UnreadableFile):
    """A file without an attribute that we cannot do without.

    Attributes:
        keyword: DICOM keyword of the attribute that is missing or empty.
    """

    message: ClassVar[str] = "{path} has no {keyword}, which is required."

    keyword: str


@dataclass(eq=False, kw_only=True)
class InvalidAttribute(UnreadableFile):
    """A file with an attribute that we need and whose value cannot be used.

    Attributes:
        keyword: DICOM keyword of the attribute.
        reason: What is wrong with its value; never the value of an attribute that could name a patient.
    """

    message: ClassVar[str] = "{path} has an unusable {keyword}: {reason}."

    keyword: str
    reason: str


@dataclass(eq=False, kw_only=True)
class TooLarge(UnreadableFile):
    """A file, or what it inflates to, that is larger than a limit of ours.

    Attributes:
        what: What grows, such as "its data set inflates".
        limit: Bytes that are allowed.
    """

    message: ClassVar[str] = "{path} is too large: {what} to more than {limit} bytes, which is the limit."

    what: str
    limit: int


@dataclass(eq=False, kw_only=True)
class UnreadableHeader(UnreadableFile):
    """A DICOM file whose elements do not follow the rules of DICOM.

    Attributes:
        reason: What is wrong; never a value, which could name a patient.
        tag: The element at fault as "(gggg,eeee)", '' if it is not known.
    """

    message: ClassVar[str] = "{path} has a header that cannot be read{at}: {reason}."

    reason: str
    tag: str = ""

    @property
    def at(self) -> str:
        """Where, in words."""
        return f" at {self.tag}" if self.tag else ""


@dataclass(eq=False, kw_only=True)
class GeometryRefused(BadInput):
    """A series that is not one regular volume.

    Attributes:
        series_uid: Series Instance UID of the refused series, '' if it has none.
        besides: What else is wrong with the series, so that nobody mends one fault to be told of the next.
    """

    message: ClassVar[str] = "The series is not one regular volume."

    series_uid: str
    besides: tuple[GeometryRefused, ...] = ()

    def __str__(self) -> str:
        return " Besides: ".join([super().__str__(), *map(str, self.besides)])


@dataclass(eq=False, kw_only=True)
class RegistrationFailed(BadInput):
    """Two series that cannot be laid on each other.

    Attributes:
        moving_uid: Series Instance UID of the volume that was to be moved.
        fixed_uid: Series Instance UID of the volume that it was to be moved onto.
        reason: What went wrong.
    """

    message: ClassVar[str] = "Series {moving_uid} cannot be aligned with series {fixed_uid}: {reason}."

    moving_uid: str
    fixed_uid: str
    reason: str


@dataclass(eq=False, kw_only=True)
class PeerRefused(DicomError):
    """The other side said no. Somebody has to change a setting, here or there.

    Attributes:
        peer: AE title and address of the other side.
        reason: What it said.
    """

    message: ClassVar[str] = "{peer} refused: {reason}."

    peer: str
    reason: str


@dataclass(eq=False, kw_only=True)
class PeerUnreachable(DicomError):
    """The other side did not answer. It is worth another try.

    Attributes:
        peer: AE title and address of the other side.
        reason: What the network said.
    """

    message: ClassVar[str] = "{peer} cannot be reached: {reason}."

    peer: str
    reason: str


@dataclass(eq=False, kw_only=True)
class EncodingFault(DicomError):
    """An object that we wrote breaks the rules of DICOM: our bug. It is not delivered.

    Attributes:
        what: The object, such as "the segmentation".
        reason: What is wrong with it.
    """

    message: ClassVar[str] = "{what} was encoded incorrectly and was not delivered: {reason}."

    what: str
    reason: str


@dataclass(eq=False, kw_only=True)
class ReadBackMismatch(EncodingFault):
    """An object that we wrote reads back as something else than what was to be written: our bug."""

    message: ClassVar[str] = "{what} does not read back as it was written and was not delivered: {reason}."
