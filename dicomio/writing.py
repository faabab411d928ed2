"""Data sets to bytes, explicit VR little endian: what pydicom writes, to the byte, in a fraction of the time.

A segmentation of 300 slices holds thousands of small items, and pydicom writes every element through a stream of its
own, with the encoding settled anew for each item. Here plain text, numbers and sequences, which is nearly all there is,
go straight to bytes; whatever else there is, pydicom writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr_element, write_data_element, write_dataset
from pydicom.multival import MultiValue
from pydicom.uid import ExplicitVRLittleEndian

_PLAIN_TEXT = {"AE": b" ", "AS": b" ", "CS": b" ", "LO": b" ", "SH": b" ", "UI": b"\0"}
"""Short text -> what it is padded with. ASCII is itself in every character set of DICOM."""

_BYTES = frozenset({"OB", "OW"})
_DECIMALS = frozenset({"DS", "IS"})
_INTEGERS = {"US": "H", "UL": "L", "SS": "h", "SL": "l"}
_LONG = struct.Struct("<HH2sHL")  # element with a length of 32 bits (PS3.5, 7.1.2)
_SHORT = struct.Struct("<HH2sH")
_ITEM = b"\xfe\xff\x00\xe0"
_LONGEST = 0xFFFE


def save(dataset: Dataset, file: BinaryIO) -> None:
    """Writes a DICOM file (PS3.10), byte for byte as `Dataset.save_as(file, enforce_file_format=True)` does."""
    if dataset.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
        dataset.save_as(file, enforce_file_format=True)
        return
    head = Dataset()
    head.preamble, head.file_meta = getattr(dataset, "preamble", None), FileMetaDataset()
    head.file_meta.update(dataset.file_meta)
    head.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    head.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    head.save_as(file, enforce_file_format=True)
    file.writelines(elements(dataset))


def elements(
    dataset: Dataset, character_set: str | Sequence[str] = default_encoding, ancestors: tuple[Dataset, ...] = ()
) -> Iterator[bytes]:
    """The elements of a data set, in order, explicit VR little endian.

    Args:
        dataset: Whole ones that were read from a file, and not made here, pydicom writes.
        character_set: As pydicom names it, of the data set around this one; its own wins.
        ancestors: The data sets around this one, the nearest first.
    """
    if None not in dataset.original_encoding:  # was read from a file: what is not touched keeps its bytes
        stream = _stream()
        write_dataset(stream, dataset, character_set)
        yield stream.getvalue()
        return
    character_set = dataset.get("SpecificCharacterSet", character_set)
    around = (dataset, *ancestors)
    for tag in sorted(map(int, dataset.keys())):
        if tag & 0xFFFF == 0 and tag >> 16 > 6:  # retired group lengths
            continue
        element = dataset[tag]
        yield _sequence(element, character_set, around) or _plain(element) or _other(element, character_set, around)


def _sequence(element: DataElement, character_set: Any, around: tuple[Dataset, ...]) -> bytes | None:
    """A sequence with lengths; None if it is no sequence, or one that is to have delimiters."""
    if element.VR != "SQ" or element.is_undefined_length:
        return None
    parts: list[bytes] = []
    for item in element.value:
        if getattr(item, "is_undefined_length_sequence_item", False):
            return None
        content = b"".join(elements(item, character_set, around))
        parts += (_ITEM, len(content).to_bytes(4, "little"), content)
    return _long(element, b"".join(parts))


def _plain(element: DataElement) -> bytes | None:
    """Pixels, short ASCII text, decimal strings and integers; None for anything else."""
    vr, value = element.VR, element.value
    if vr in _BYTES and isinstance(value, bytes) and len(value) % 2 == 0 and not element.is_undefined_length:
        return _long(element, value)
    if vr in _PLAIN_TEXT and isinstance(value, str) and value.isascii():
        content = value.encode("ascii")
        content += _PLAIN_TEXT[vr] * (len(content) % 2)
    elif vr in _DECIMALS and isinstance(value, MultiValue):
        content = "\\".join(getattr(number, "original_string", None) or str(number) for number in value).encode()
        content += b" " * (len(content) % 2)
    elif vr in _INTEGERS and isinstance(value, int):
        content = struct.pack(f"<{_INTEGERS[vr]}", value)
    elif vr in _INTEGERS and isinstance(value, MultiValue):
        content = struct.pack(f"<{len(value)}{_INTEGERS[vr]}", *value)
    else:
        return None
    if len(content) > _LONGEST:
        return None
    return _SHORT.pack(element.tag >> 16, element.tag & 0xFFFF, vr.encode(), len(content)) + content


def _long(element: DataElement, value: bytes) -> bytes:
    return _LONG.pack(element.tag >> 16, element.tag & 0xFFFF, element.VR.encode(), 0, len(value)) + value


def _other(element: DataElement, character_set: Any, around: tuple[Dataset, ...]) -> bytes:
    """As pydicom writes it."""
    stream = _stream()
    if len(element.VR) > 2:
        correct_ambiguous_vr_element(element, around[0], True, list(around))
    write_data_element(stream, element, character_set)
    return bytes(stream.getvalue())


def _stream() -> DicomBytesIO:
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    return stream
