"""The head of a DICOM file (PS3.10, 7.1) without pydicom: the listener puts it before every data set it receives."""

from __future__ import annotations

import struct

IMPLEMENTATION_CLASS_UID = "2.25.179410055838821618184381208025348654463"
IMPLEMENTATION_VERSION = "SCANWARD_0"
PREAMBLE = b"\x00" * 128 + b"DICM"


def _element(number: int, vr: bytes, value: bytes, pad: bytes) -> bytes:
    """One element of group 0002 in Explicit VR Little Endian, padded to an even length."""
    if len(value) % 2:
        value += pad
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value


def _uid(number: int, value: str) -> bytes:
    return _element(number, b"UI", value.encode("ascii", "replace"), b"\x00")


def file_head(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae: str = "") -> bytes:
    """Preamble, prefix and file meta information for a data set in `transfer_syntax_uid`.

    Args:
        sop_class_uid: As the sender named it.
        sop_instance_uid: As the sender named it.
        transfer_syntax_uid: In which the data set that follows is encoded.
        source_ae: Application Entity title that the data set came from; left out when empty.
    """
    body = struct.pack("<HH2sHI2s", 0x0002, 0x0001, b"OB", 0, 2, b"\x00\x01")
    body += _uid(0x0002, sop_class_uid)
    body += _uid(0x0003, sop_instance_uid)
    body += _uid(0x0010, transfer_syntax_uid)
    body += _uid(0x0012, IMPLEMENTATION_CLASS_UID)
    body += _element(0x0013, b"SH", IMPLEMENTATION_VERSION.encode("ascii"), b" ")
    if source_ae:
        body += _element(0x0016, b"AE", source_ae.encode("ascii", "replace"), b" ")
    return PREAMBLE + struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(body)) + body
