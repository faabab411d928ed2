"""Attribute values as plain data (text, numbers, lists), decoded from pydicom's raw elements.

Converting every element through pydicom's own classes takes three times as long as parsing the file; routing rules want
plain JSON values anyway.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomio.files.parse_errors import DamagedElement
from dicomio.files.vr import NUMERIC_TEXT, TEXT, TEXT_WITH_BACKSLASH

Plain = str | int | float | list[str] | list[int] | list[float] | list[int | float | str]

# As the module `struct` calls them.
_STRUCT_CODES = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_STRUCT_CODES["US or SS"] = "H"
_PLAIN = TEXT | TEXT_WITH_BACKSLASH | NUMERIC_TEXT | frozenset(_STRUCT_CODES)
_PADDING = " \0\t\r\n"
LONGEST_VALUE = 1024  # bytes: what is longer is bulk data or prose, and no rule asks for it


@lru_cache(maxsize=8192)
def _described(tag: int) -> tuple[str, str]:
    """Keyword and VR of a standard attribute, '' and '' for any other."""
    try:
        return keyword_for_tag(tag), dictionary_VR(tag)
    except KeyError:
        return "", ""


@lru_cache(maxsize=1024)
def _tag_of(keyword: str) -> Tag:
    return Tag(keyword)


def plain_value(dataset: Dataset, keyword: str) -> Plain | None:
    """One attribute of the data set, None if it is missing, empty, a person's name, a sequence or bulk data.

    Raises:
        DamagedElement: Its value cannot be understood.
    """
    tag = _tag_of(keyword)
    value = _value(dataset, dataset.get_item(tag)) if tag in dataset else None
    return None if value == "" else value


def plain_tags(dataset: Dataset) -> dict[str, Plain]:
    """All top-level attributes that have a plain value, by keyword; those that are present but empty are ''.

    Left out: sequences, person names, bulk data, private attributes, and whatever is longer than LONGEST_VALUE.

    Raises:
        DamagedElement: A value cannot be understood.
    """
    return dict(_plain_items(dataset))


def texts(value: Plain | None) -> tuple[str, ...]:
    """A value as a tuple of strings, whatever it was."""
    if value is None or value == "":
        return ()
    return tuple(str(part) for part in value) if isinstance(value, list) else (str(value),)


def text(value: Plain | None) -> str:
    """A value as one string, '' if there is none, several values joined as DICOM does."""
    return "\\".join(texts(value))


def numbers(value: Plain | None) -> tuple[float, ...]:
    """A value as a tuple of numbers; empty if any part of it is none."""
    parts = value if isinstance(value, list) else [] if value is None else [value]
    if any(isinstance(part, str) for part in parts):
        return ()
    return tuple(float(part) for part in parts)


def number(value: Plain | None) -> float | None:
    """A value as one number (the first of several), None if it is none."""
    found = numbers(value)
    return found[0] if found else None


def integer(value: Plain | None) -> int | None:
    """A value as one whole number, None if it is none."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def _plain_items(dataset: Dataset) -> Iterator[tuple[str, Plain]]:
    for raw in dataset.values():
        keyword = _described(int(raw.tag))[0]
        if keyword:
            value = _value(dataset, raw)
            if value is not None:
                yield keyword, value


def _value(dataset: Dataset, raw: Any) -> Plain | None:
    try:
        return _convert(dataset, raw)
    except Exception as error:
        raise DamagedElement(int(raw.tag), f"its value cannot be understood ({type(error).__name__})") from error


def _convert(dataset: Dataset, raw: Any) -> Plain | None:
    if not isinstance(raw, RawDataElement):
        return _from_element(raw)
    tag = int(raw.tag)
    vr = raw.VR if raw.VR is not None and raw.VR != "UN" else _described(tag)[1]
    value = raw.value
    if vr in TEXT or vr in TEXT_WITH_BACKSLASH or vr in NUMERIC_TEXT:
        return _text_value(dataset, raw, vr)
    if vr in _STRUCT_CODES and value is not None and len(value) <= LONGEST_VALUE:
        return _numbers(value, _STRUCT_CODES[vr], little=raw.is_little_endian)
    return None


def _text_value(dataset: Dataset, raw: RawDataElement, vr: str) -> Plain | None:
    value = raw.value
    if not value:
        return ""
    if len(value) > LONGEST_VALUE:
        return None
    if not value.isascii() or b"\x1b" in value:
        return _by_pydicom(dataset, raw.tag)
    decoded = value.decode("ascii").strip(_PADDING)
    if vr in TEXT_WITH_BACKSLASH or "\\" not in decoded:
        return _parsed(decoded, vr)
    return [_parsed(part.strip(_PADDING), vr) for part in decoded.split("\\")]


def _parsed(value: str, vr: str) -> str | int | float:
    """A decimal or integer string as the number that it says, unchanged if it says none."""
    if vr not in NUMERIC_TEXT:
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    if not math.isfinite(number):
        return value
    return int(number) if vr == "IS" and number.is_integer() else number


def _numbers(value: bytes, code: str, *, little: bool) -> Plain | None:
    order = "<" if little else ">"
    size = struct.calcsize(f"{order}{code}")
    found = struct.unpack(f"{order}{len(value) // size}{code}", value[: len(value) // size * size])
    if not found:
        return ""
    if any(isinstance(part, float) and not math.isfinite(part) for part in found):
        return None
    return found[0] if len(found) == 1 else list(found)


def _by_pydicom(dataset: Dataset, tag: int) -> Plain | None:
    """Text in another character set than ASCII, which pydicom knows to decode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wrong character sets are common; the value is kept as it is
        try:
            return _from_element(dataset[tag])
        except Exception:  # a damaged value of an attribute that may never be asked for must not refuse the image
            return None


def _from_element(element: DataElement) -> Plain | None:
    """The value of an element that pydicom has converted already."""
    vr = element.VR
    if vr not in _PLAIN:
        return None
    value = element.value
    if value is None or value == "":
        return ""
    if isinstance(value, str | int | float):
        return _parsed(str(value), vr) if isinstance(value, str) or vr in NUMERIC_TEXT else value
    return [_parsed(str(part), vr) if vr not in _STRUCT_CODES else part for part in value]
