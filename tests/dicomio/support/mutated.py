"""DICOM files with damaged headers: what Hypothesis makes of good ones."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement

from tests.dicomio.support.images import classic, enhanced, write

VRS = [vr.encode() for vr in re.findall("..", "AEASATCSDADSDTFDFLISLOLTOBODOFOLOVOWPNSHSLSQSSSTSVTMUCUIULUNURUSUTUV")]
VRS += [b"XX", b"\0\0", b"\xff\xfe"]
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}
# Those that decide how a file is read; the rest of the dictionary is as good as any.
TAGS = [0x00020010, 0x00020012, 0x00080005, 0x00080018, 0x00080060, 0x00100020, 0x0020000D, 0x0020000E, 0x00200013]
TAGS += [0x00200032, 0x00200037, 0x00280008, 0x00280010, 0x00280030, 0x00281053, 0x00283000, 0x52009229, 0x52009230]
TAGS += [0x00041220, 0x00020000, 0x00280100, 0x00280002, 0x00091001, 0x00080000, 0xFFFEE000, 0xFFFEE0DD]


@dataclass(frozen=True)
class Good:
    """A good file, and where its elements are: (start, offset of the value, length of the value)."""

    data: bytes
    elements: tuple[tuple[int, int, int], ...]
    pixels_at: int


def good_files(folder: Path) -> list[Good]:
    """A classic CT and an enhanced MR image, both in Explicit VR Little Endian."""
    written = [
        write(classic(1, (0, 0, 0)), folder / "classic.dcm"),
        write(enhanced([(0, 0, 0), (0, 0, 2.5), (0, 0, 5)]), folder / "enhanced.dcm"),
    ]
    return [_good(path.read_bytes()) for path in written]


def _good(data: bytes) -> Good:
    dataset = pydicom.dcmread(BytesIO(data))
    raws = [raw for raw in (*dataset.file_meta.values(), *dataset.values()) if isinstance(raw, RawDataElement)]
    found = tuple((_start(raw), raw.value_tell, raw.length) for raw in raws if raw.length < 1 << 20)
    return Good(data, found, next(at for at, value, _ in found if data[at : at + 4] == b"\xe0\x7f\x10\x00"))


def _start(raw: RawDataElement) -> int:
    return raw.value_tell - (12 if str(raw.VR).encode() in _LONG else 8)


def mutations(good: list[Good]) -> st.SearchStrategy[bytes]:
    """One of the files with one to three faults."""
    return st.sampled_from(good).flatmap(lambda one: st.lists(_fault(one), min_size=1, max_size=3).map(_apply(one)))


def _apply(good: Good) -> Callable[[list[Callable[[bytearray], None]]], bytes]:
    def damaged(faults: list[Callable[[bytearray], None]]) -> bytes:
        data = bytearray(good.data)
        for fault in faults:
            fault(data)
        return bytes(data)

    return damaged


def _fault(good: Good) -> st.SearchStrategy[Callable[[bytearray], None]]:
    element = st.sampled_from(good.elements)
    return st.one_of(
        st.builds(_other_vr, element, st.sampled_from(VRS)),
        st.builds(_other_value, element, st.binary(max_size=40)),
        st.builds(_other_length, element, st.sampled_from([0, 1, 3, 0x7FFF, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF])),
        st.builds(_other_byte, st.integers(128, good.pixels_at + 12), st.integers(0, 255)),
        st.builds(_inserted, element, st.sampled_from(TAGS), st.sampled_from(VRS), st.binary(max_size=40)),
        st.builds(_cut, st.integers(0, len(good.data))),
    )


def _other_vr(element: tuple[int, int, int], vr: bytes) -> Callable[[bytearray], None]:
    return lambda data: _put(data, element[0] + 4, vr)


def _other_value(element: tuple[int, int, int], value: bytes) -> Callable[[bytearray], None]:
    return lambda data: _put(data, element[1], value[: element[2]].ljust(element[2], b" "))


def _other_length(element: tuple[int, int, int], length: int) -> Callable[[bytearray], None]:
    size = 4 if element[1] - element[0] == 12 else 2
    return lambda data: _put(data, element[1] - size, struct.pack("<L", length)[:size])


def _other_byte(at: int, byte: int) -> Callable[[bytearray], None]:
    return lambda data: _put(data, at, bytes([byte]))


def _inserted(element: tuple[int, int, int], tag: int, vr: bytes, value: bytes) -> Callable[[bytearray], None]:
    length = struct.pack("<2xL" if vr in _LONG else "<H", len(value))

    def fault(data: bytearray) -> None:
        data[element[0] : element[0]] = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + length + value

    return fault


def _cut(size: int) -> Callable[[bytearray], None]:
    def fault(data: bytearray) -> None:
        del data[size:]

    return fault


def _put(data: bytearray, at: int, value: bytes) -> None:
    data[at : at + len(value)] = value
