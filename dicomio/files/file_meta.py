"""Writes and reads preamble and file meta (PS3.10, 7.1) without pydicom, which listener processes need to be quick."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dicomio.errors import NotDicom

IMPLEMENTATION_CLASS_UID = "2.25.179410055838821618184381208025348654463"
IMPLEMENTATION_VERSION = "SCANWARD_0"
LENGTH_OF_4_BYTES = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
"""Explicit VRs whose length field has four bytes (PS3.5, 7.1.2). pydicom knows them too, but takes long to import."""
PREAMBLE = b"\x00" * 128 + b"DICM"


def _element(number: int, vr: bytes, value: bytes, pad: bytes) -> bytes:
    """One element of group 0002 in Explicit VR Little Endian, padded to an even length."""
    if len(value) % 2:
        value += pad
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value


def _uid(number: int, value: str) -> bytes:
    return _element(number, b"UI", value.encode("ascii", "replace"), b"\x00")


def encode_file_meta(
    *, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae: str = "", receipt: str = ""
) -> bytes:
    """Preamble, prefix and file meta information for a data set in `transfer_syntax_uid`.

    Args:
        sop_class_uid: As the sender named it.
        sop_instance_uid: As the sender named it.
        transfer_syntax_uid: In which the data set that follows is encoded.
        source_ae: Application Entity title that the data set came from; left out when empty.
        receipt: Association and number of the image in it, as Private Information (0002,0102), which PS3.10 leaves to
            the implementation: after a crash, a file without its name still says how it came. Left out when empty.
    """
    body = struct.pack("<HH2sHI2s", 0x0002, 0x0001, b"OB", 0, 2, b"\x00\x01")
    body += _uid(0x0002, sop_class_uid)
    body += _uid(0x0003, sop_instance_uid)
    body += _uid(0x0010, transfer_syntax_uid)
    body += _uid(0x0012, IMPLEMENTATION_CLASS_UID)
    body += _element(0x0013, b"SH", IMPLEMENTATION_VERSION.encode("ascii"), b" ")
    if source_ae:
        body += _element(0x0016, b"AE", source_ae.encode("ascii", "replace"), b" ")
    if receipt:
        body += _uid(0x0100, IMPLEMENTATION_CLASS_UID)
        value = receipt.encode("ascii", "replace")
        value += b"\x00" * (len(value) % 2)
        body += struct.pack("<HH2sHI", 0x0002, 0x0102, b"OB", 0, len(value)) + value
    return PREAMBLE + struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(body)) + body


@dataclass(frozen=True, kw_only=True)
class FileMeta:
    """What the head of a DICOM file says.

    Attributes:
        sop_class_uid: Media Storage SOP Class UID, '' if missing; so are the others.
        sop_instance_uid: Media Storage SOP Instance UID.
        transfer_syntax_uid: In which the data set is encoded.
        offset: Where the data set begins, in bytes from the start of the file.
        receipt: Association and number of the image in it, if our listener wrote the head, else ''.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int
    receipt: str = ""


def read_file_meta(path: Path) -> FileMeta:
    """Read the head of a DICOM file.

    Raises:
        NotDicom: It has none.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        if stream.read(132)[128:] != b"DICM":
            raise NotDicom(path=path, reason="it does not have the prefix DICM")
        elements = dict(meta_elements(stream))
        texts = {number: value.decode("ascii", "replace").strip("\x00 ") for number, value in elements.items()}
        return FileMeta(
            sop_class_uid=texts.get(0x0002, ""),
            sop_instance_uid=texts.get(0x0003, ""),
            transfer_syntax_uid=texts.get(0x0010, ""),
            offset=stream.tell(),
            receipt=texts.get(0x0102, "") if texts.get(0x0100) == IMPLEMENTATION_CLASS_UID else "",
        )


def meta_elements(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The elements of group 0002; leaves the stream at the first byte after them."""
    while True:
        start = stream.tell()
        head = stream.read(8)
        if len(head) < 8 or head[:2] != b"\x02\x00":
            stream.seek(start)
            return
        length = int.from_bytes(head[6:8], "little")
        if head[4:6] in LENGTH_OF_4_BYTES:
            length = int.from_bytes(stream.read(4), "little")
        yield int.from_bytes(head[2:4], "little"), stream.read(length)
