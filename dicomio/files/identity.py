"""Finds study, series and instance UID in a damaged file that no parser can read.

The elements are looked for by their bytes, in each of the three encodings. In a data set (0020,000D) and (0020,000E)
stand side by side, which no sequence in front of them imitates.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

BEGINNING = 4 << 20
"""Bytes that are looked at, deflated ones after inflating: headers of images end far before."""

_UID = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_STUDY, _SERIES, _SOP = 0x0020000D, 0x0020000E, 0x00080018
_NUMBER, _POSITION = 0x00200013, 0x00200032


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What is known of a file that cannot be used; '' and None for what is not.

    Attributes:
        number: Instance Number.
        position: Image Position (Patient), LPS in mm.
        source_ae: Who sent it, by its file meta.
    """

    study_uid: str = ""
    series_uid: str = ""
    sop_uid: str = ""
    number: str = ""
    position: tuple[float, float, float] | None = None
    source_ae: str = ""


def identity_of(path: Path) -> Identity:
    """What a file says of itself, whatever has become of it; an empty identity where it says nothing.

    Raises:
        OSError: The disk failed, or the file is not there.
    """
    with path.open("rb") as file:
        data = file.read(BEGINNING)
    meta, data = _split(data)
    found = next((one for encoding in _ENCODINGS if (one := _identify(data, encoding)) is not None), Identity())
    sop_uid = found.sop_uid or _uid(*_explicit("<", "UI")(meta, 0x00020003, 0))[0]
    sender = _explicit("<", "AE")(meta, 0x00020016, 0)[0].decode("ascii", "replace").strip("\0 ")
    return Identity(
        study_uid=found.study_uid,
        series_uid=found.series_uid,
        sop_uid=sop_uid,
        number=found.number,
        position=found.position,
        source_ae=sender,
    )


def _split(data: bytes) -> tuple[bytes, bytes]:
    """File meta and data set, the second inflated; without a head all of it is data set."""
    if data[128:132] != b"DICM":
        return b"", data
    at = 144 + int.from_bytes(data[140:144], "little")
    meta = data[132 : min(at, 4096)]
    if _DEFLATED not in meta:
        return data[132:4096], data
    try:
        return meta, zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[at:], BEGINNING)
    except zlib.error:
        return meta, b""


Encoding = Callable[[bytes, int, int], "tuple[bytes, int]"]


def _explicit(order: str, vr: str) -> Encoding:
    def find(data: bytes, tag: int, start: int) -> tuple[bytes, int]:
        mark = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) + vr.encode()
        return _value(data, data.find(mark, start), 6, f"{order}H")

    return find


def _implicit(order: str, vr: str) -> Encoding:
    def find(data: bytes, tag: int, start: int) -> tuple[bytes, int]:
        mark = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
        at = data.find(mark, start)
        while at >= 0 and data[at + 6 : at + 8] != b"\0\0":  # none of these is longer than 64 KiB
            at = data.find(mark, at + 1)
        return _value(data, at, 4, f"{order}L")

    return find


_ENCODINGS = (lambda vr: _explicit("<", vr), lambda vr: _implicit("<", vr), lambda vr: _explicit(">", vr))


def _value(data: bytes, at: int, head: int, size: str) -> tuple[bytes, int]:
    """The value of the element at `at`, and where the next one begins; nothing, and -1, if there is none."""
    begin = at + head + struct.calcsize(size)
    if at < 0 or begin > len(data):
        return b"", -1
    (length,) = struct.unpack_from(size, data, at + head)
    end = begin + length
    return (data[begin:end], end) if length <= 256 and end <= len(data) else (b"", -1)


def _identify(data: bytes, encoding: Callable[[str], Encoding]) -> Identity | None:
    """The identity if the data set is in this encoding, else None."""
    uids, text = encoding("UI"), encoding("IS")
    sop, _ = _uid(*uids(data, _SOP, 0))
    study, series, end = _pair(data, uids)
    if not (sop or study or series):
        return None
    number = text(data, _NUMBER, max(end, 0))[0].decode("ascii", "replace").strip("\0 ") if end >= 0 else ""
    return Identity(
        study_uid=study,
        series_uid=series,
        sop_uid=sop,
        number=number if number.isdecimal() else "",
        position=_position(encoding("DS")(data, _POSITION, end)[0]) if end >= 0 else None,
    )


def _pair(data: bytes, find: Encoding) -> tuple[str, str, int]:
    """Study and series UID, and where the second ends; one of them alone if there is no pair.

    Of several pairs that one counts behind which group 0020 goes on: items of sequences end there.
    """
    pairs, alone = [], ("", "", -1)
    for study, end in _occurrences(data, find, _STUDY):
        value, after = find(data, _SERIES, end)
        series, _ = _uid(value, after)
        if series and after - len(value) - end <= 12:
            pairs.append((study, series, after))
        alone = alone if alone[0] else (study, "", end)
    going_on = [pair for pair in pairs if data[pair[2] : pair[2] + 2] in (b"\x20\x00", b"\x00\x20")]
    if found := going_on or pairs:
        return found[0]
    if alone[0]:
        return alone
    series, after = _uid(*find(data, _SERIES, 0))
    return "", series, after


def _occurrences(data: bytes, find: Encoding, tag: int) -> Iterator[tuple[str, int]]:
    at = 0
    while True:
        value, at = find(data, tag, at)
        if at < 0:
            return
        uid, _ = _uid(value, at)
        if uid:
            yield uid, at


def _uid(value: bytes, end: int) -> tuple[str, int]:
    cleaned = value.strip(b"\0 ")
    return (cleaned.decode("ascii"), end) if _UID.fullmatch(cleaned) else ("", -1)


def _position(value: bytes) -> tuple[float, float, float] | None:
    try:
        x, y, z = (float(part) for part in value.decode("ascii", "replace").strip("\0 ").split("\\"))
    except ValueError:
        return None
    return x, y, z
