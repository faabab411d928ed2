"""DICOM files that lack preamble or file meta (PS3.10, 7.1), as older scanners and export tools write them."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomio.files.file_meta import LENGTH_OF_4_BYTES, PREAMBLE, encode_file_meta
from dicomio.files.vr import IN_FILES

BEGINNING = 4096
"""Bytes from the start of a file in which everything is found that `missing_file_meta` needs."""

_SOP_CLASS, _SOP_INSTANCE = 0x0016, 0x0018
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


def missing_file_meta(beginning: bytes) -> bytes | None:
    """What has to be put before a file, so that it is a DICOM file.

    Args:
        beginning: The first BEGINNING bytes of the file, all of them if it is shorter.

    Returns:
        Nothing (b"") if the file has a head, the preamble if only that is missing, or a whole head for a bare data set
        that begins with group 0008 and names its SOP class and instance. None if none of these is the case. The
        transfer syntax of a bare data set is told from its first element; compressed pixels cannot be told.
    """
    if beginning[128:132] == b"DICM":
        return b""
    if beginning[:2] == b"\x02\x00" and beginning[4:6] in IN_FILES:
        return PREAMBLE
    syntax = _syntax(beginning)
    if syntax is None:
        return None
    uids = dict(_identifying(beginning, syntax))
    if not {_SOP_CLASS, _SOP_INSTANCE} <= uids.keys():
        return None
    return encode_file_meta(
        sop_class_uid=uids[_SOP_CLASS], sop_instance_uid=uids[_SOP_INSTANCE], transfer_syntax_uid=syntax
    )


def _syntax(beginning: bytes) -> str | None:
    """The transfer syntax of a data set that begins with group 0008, None if it is nothing of the kind."""
    explicit = beginning[4:6].isalpha() and beginning[4:6].isupper()
    if beginning[:2] == b"\x08\x00":
        return str(ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian)
    return str(ExplicitVRBigEndian) if beginning[:2] == b"\x00\x08" and explicit else None


def _identifying(beginning: bytes, syntax: str) -> Iterator[tuple[int, str]]:
    """The elements (0008,0016) and (0008,0018), as far as they are unique identifiers."""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    at = 0
    while at + 12 <= len(beginning):
        group, element = struct.unpack_from(f"{order}HH", beginning, at)
        if group != 0x0008 or element > _SOP_INSTANCE:
            return
        start, length = _value(beginning, at, order, explicit=syntax != ImplicitVRLittleEndian)
        value = beginning[start : start + length].decode("ascii", "replace").strip("\x00 ")
        if element in (_SOP_CLASS, _SOP_INSTANCE) and len(value) <= 64 and _UID.fullmatch(value):
            yield element, value
        at = start + length  # an undefined length leads past the end


def _value(data: bytes, at: int, order: str, *, explicit: bool) -> tuple[int, int]:
    """Where the value of the element at `at` begins, and its length."""
    if not explicit:
        return at + 8, struct.unpack_from(f"{order}L", data, at + 4)[0]
    if data[at + 4 : at + 6] in LENGTH_OF_4_BYTES:
        return at + 12, struct.unpack_from(f"{order}L", data, at + 8)[0]
    return at + 8, struct.unpack_from(f"{order}H", data, at + 6)[0]
