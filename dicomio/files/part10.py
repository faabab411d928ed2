"""Parses a DICOM file up to its pixel data, which are located and measured but not read."""

from __future__ import annotations

import os
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info, read_partial
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from dicomio.errors import NotDicom, TruncatedFile
from dicomio.files.file_meta import LENGTH_OF_4_BYTES, PREAMBLE, meta_elements, read_file_meta
from dicomio.files.inflate import LARGEST_HEADER, LARGEST_INFLATED, Inflated
from dicomio.files.parse_errors import parse_errors_of

PIXEL_DATA = 0x7FE00010
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})  # float, double float, integer
_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xFFFEE000
_PREFIX_AT = 128
_NO_LIMIT = sys.maxsize
_FIRST_GROUPS = range(0x0004, 0x0100)  # what a data set begins with; the other way round they are 0x0400 and more


@dataclass(frozen=True)
class PixelElement:
    """Where the pixel data lie.

    Attributes:
        tag: One of PIXEL_TAGS.
        offset: First byte of the value in the stream that `open_values` returns.
        length: Bytes of the value; None if it is encapsulated (compressed frames in items).
        vr: As it stands in the file; '' in Implicit VR, which means OW.
    """

    tag: int
    offset: int
    length: int | None
    vr: str = ""


@dataclass(frozen=True, eq=False)
class Part10:
    """What `parse` found in a file.

    Attributes:
        path: The file.
        dataset: Everything before the pixel data, with `file_meta`; values are converted when they are asked for.
        pixels: Where the pixels are, None if there are none.
        inflated: The data set was deflated, so offsets count in the inflated copy.
    """

    path: Path
    dataset: FileDataset
    pixels: PixelElement | None
    inflated: bool


def parse(path: Path, *, largest: int = LARGEST_INFLATED) -> Part10:
    """Parse the file up to its pixel data, which are neither read nor decoded, only measured.

    Args:
        path: The file.
        largest: Bytes that a deflated data set may inflate to; it is measured a piece at a time.

    Raises:
        NotDicom: Not a DICOM Part 10 file, or one that cannot be understood.
        TruncatedFile: An element, the pixel data among them, would end after the end of the file.
        TooLarge: It is deflated, and its contents go beyond the limit.
        UnreadableHeader: It breaks off in a way that no reader understands.
        OSError: The disk failed, or the file is not there.
    """
    with path.open("rb") as file, parse_errors_of(path):
        dataset, stream = _read(path, file, largest)
        pixels = _pixel_element(path, file, stream, dataset)
    return Part10(path, dataset, pixels, isinstance(stream, Inflated))


def read_data_set(path: Path) -> FileDataset:
    """The data set before the pixels; whether these are all there is not looked at. Errors as of `parse`."""
    with path.open("rb") as file, parse_errors_of(path):
        return _read(path, file, LARGEST_HEADER)[0]


def open_values(path: Path, *, inflated: bool) -> BinaryIO:
    """The stream that `PixelElement.offset` counts in: the file, or its inflated contents. The caller closes it.

    The contents were measured when the file was parsed; they are read from front to back.
    """
    file = path.open("rb")
    if not inflated:
        return file
    file.seek(read_file_meta(path).offset)
    return cast("BinaryIO", Inflated(path, file, _NO_LIMIT))


def _check_prefix(path: Path, file: BinaryIO) -> None:
    head = file.read(_PREFIX_AT + 4)
    if not head:
        raise NotDicom(path=path, reason="it is empty")
    if head[_PREFIX_AT:] != b"DICM":
        raise NotDicom(path=path, reason="the prefix DICM is missing at byte 128")
    file.seek(0)


def _check_byte_order(path: Path, file: BinaryIO, syntax: str) -> None:
    """Refuse what would be read as garbage, and look cut off, because its bytes run the other way than it says."""
    head = file.read(6)
    if len(head) < 6 or syntax in ("", DeflatedExplicitVRLittleEndian):
        return
    little, big = (int.from_bytes(head[:2], order) for order in ("little", "big"))
    labelled_big = syntax == ExplicitVRBigEndian
    if (little if labelled_big else big) not in _FIRST_GROUPS or (big if labelled_big else little) in _FIRST_GROUPS:
        return
    found = "little endian" if labelled_big else "Explicit VR Big Endian"
    if not labelled_big and not (head[4:6].isalpha() and head[4:6].isupper()):
        found = "Implicit VR Big Endian, which GE used before DICOM and which is not supported"
    raise NotDicom(path=path, reason=f"its data set is in {found}, its transfer syntax is {UID(syntax).name}")


def _is_pixel_tag(tag: int, vr: str | None, length: int) -> bool:
    return int(tag) in PIXEL_TAGS


def _read(path: Path, file: BinaryIO, largest: int) -> tuple[FileDataset, BinaryIO]:
    """The data set before the pixels, and the stream that it was read from, at the pixels or the end."""
    _check_prefix(path, file)
    file.seek(_PREFIX_AT + 4)
    syntax = dict(meta_elements(file)).get(0x0010, b"").decode("ascii", "replace").strip("\0 ")
    deflated = cast("BinaryIO", Inflated(path, file, largest)) if syntax == DeflatedExplicitVRLittleEndian else None
    try:
        if deflated is not None:
            return _read_inflated(path, deflated), deflated
        _check_byte_order(path, file, syntax)
        file.seek(0)
        return read_partial(file, stop_when=_is_pixel_tag), file
    except (InvalidDicomError, NotImplementedError) as error:
        raise NotDicom(path=path, reason=str(error)) from error
    except (EOFError, zlib.error, struct.error) as error:
        raise _cut_off(path, file) from error
    except OSError as error:
        if error.errno is not None:  # the disk, not the contents
            raise
        raise _cut_off(path, file) from error


def _read_inflated(path: Path, stream: BinaryIO) -> FileDataset:
    """What `read_partial` makes of a deflated file; it would inflate all of it at once."""
    meta = read_file_meta_info(path)
    dataset = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=_is_pixel_tag)
    found = FileDataset(str(path), dataset, PREAMBLE[:_PREFIX_AT], meta, is_implicit_VR=False, is_little_endian=True)
    found.set_original_encoding(False, True, dataset._character_set)
    return found


def _cut_off(path: Path, file: BinaryIO) -> TruncatedFile:
    size = file.seek(0, os.SEEK_END)
    return TruncatedFile(path=path, what="a sequence or the compressed data set", expected=size + 1, found=size)


def _pixel_element(path: Path, file: BinaryIO, stream: BinaryIO, dataset: FileDataset) -> PixelElement | None:
    """Where the pixels are; the stream stands at their element, or at the end of a file without."""
    start = stream.tell()
    head = stream.read(12)
    try:
        size = stream.seek(0, os.SEEK_END)
    except zlib.error as error:
        raise _cut_off(path, file) from error
    implicit, little = dataset.original_encoding  # as labelled; the element itself may say otherwise
    if len(head) < 8:
        _check_last_element(path, dataset, size, dangling=len(head))
        return None
    tag, offset, length, vr = _decode_head(head, start, implicit=bool(implicit), order="<" if little else ">")
    if length == _UNDEFINED:
        _check_items(path, stream, offset, size)
    elif offset + length > size:
        raise TruncatedFile(path=path, what="the pixel data", expected=offset + length, found=size)
    return PixelElement(tag, offset, None if length == _UNDEFINED else length, vr)


def _decode_head(head: bytes, start: int, *, implicit: bool, order: str) -> tuple[int, int, int, str]:
    """Tag, offset of the value, length and VR of an element (PS3.5, 7.1.2 and 7.1.3).

    Where one of the VRs of pixels stands it is one, however the file is labelled: read as the low half of a length,
    each of them is an odd number, which no length is.
    """
    group, element = struct.unpack_from(f"{order}HH", head)
    vr = head[4:6]
    if vr in LENGTH_OF_4_BYTES and len(head) == 12:
        at, (length,) = 12, struct.unpack_from(f"{order}L", head, 8)
    elif implicit or not vr.isalpha():
        at, vr, (length,) = 8, b"", struct.unpack_from(f"{order}L", head, 4)
    else:
        at, (length,) = 8, struct.unpack_from(f"{order}H", head, 6)
    return group << 16 | element, start + at, length, vr.decode("ascii", "replace")


def _check_last_element(path: Path, dataset: FileDataset, size: int, *, dangling: int) -> None:
    """A file without pixels ends with its last element, and that one is complete: pydicom reads what there is."""
    placed = [raw for raw in dataset.values() if isinstance(raw, RawDataElement) and raw.length != _UNDEFINED]
    end = max((raw.value_tell + raw.length for raw in placed), default=0)
    if end > size or dangling:
        raise TruncatedFile(path=path, what="the last element", expected=max(end, size + 8 - dangling), found=size)


def _check_items(path: Path, stream: BinaryIO, offset: int, size: int) -> None:
    """Walk over the items of encapsulated pixels (PS3.5, A.4); a missing end mark after a complete item is forgiven."""
    at = offset
    while at < size:
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8:
            at += 8
            break
        group, element, length = struct.unpack("<HHL", head)
        if group << 16 | element != _ITEM:
            return
        at += 8 + length
    if at > size or at == offset:
        raise TruncatedFile(path=path, what="the compressed pixel data", expected=max(at, size + 1), found=size)
