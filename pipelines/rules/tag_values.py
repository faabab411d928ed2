"""Reads tags as scanners really write them: numbers as text, one value or a list, padded, empty, with backslashes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

Tags = Mapping[str, Any]
"""DICOM keyword -> plain value."""

Scalar = str | int | float | bool
"""What one value of a tag, or of a derived attribute, can be."""

_PADDING = " \0\t\r\n"  # DICOM pads values to an even length, with a space or a NUL


def scalars(value: Any) -> tuple[Scalar, ...]:
    """The values of a tag, without padding and without empty ones; () when it is missing.

    A text with backslashes is several values: that is how DICOM writes lists, and some exports keep it.
    """
    if isinstance(value, str):
        return _texts(value)
    if isinstance(value, int | float):
        return (value,) if math.isfinite(value) else ()
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        return () if value is None else _texts(str(value))
    found: list[Scalar] = []
    for item in value:
        if isinstance(item, float) and math.isfinite(item):  # most lists are positions and cosines
            found.append(item)
        else:
            found.extend(scalars(item))
    return tuple(found)


def _texts(value: str) -> tuple[str, ...]:
    if "\\" in value:
        return tuple(part for part in (part.strip(_PADDING) for part in value.split("\\")) if part)
    value = value.strip(_PADDING)
    return (value,) if value else ()


def as_number(value: Scalar) -> float | None:
    """A value as a finite number; None when it is not one."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def number(tags: Mapping[str, Any], *keywords: str) -> float | None:
    """The first number found under these keywords; None when there is none."""
    for keyword in keywords:
        if keyword in tags:
            found = next((one for one in map(as_number, scalars(tags[keyword])) if one is not None), None)
            if found is not None:
                return found
    return None


def positive(tags: Mapping[str, Any], *keywords: str) -> float | None:
    """Like `number`, but vendors write 0 for "does not apply": only what is above 0 counts."""
    for keyword in keywords:
        found = number(tags, keyword)
        if found is not None and found > 0:
            return found
    return None


def numbers(tags: Mapping[str, Any], keyword: str) -> tuple[float, ...]:
    """All values of a tag as numbers; () when one of them is none."""
    if keyword not in tags:
        return ()
    found = [as_number(value) for value in scalars(tags[keyword])]
    return tuple(value for value in found if value is not None) if None not in found else ()


def text(tags: Mapping[str, Any], keyword: str) -> str:
    """A tag as one text, '' when it is missing."""
    value = tags.get(keyword)
    if value is None:
        return ""
    if isinstance(value, str):  # a backslash in a description is a character, not a separator
        return value.strip(_PADDING)
    return " ".join(str(part) for part in scalars(value))


def codes(tags: Mapping[str, Any], keyword: str) -> tuple[str, ...]:
    """Values of a coded tag (ImageType, ScanningSequence, ...) in capitals, in their order."""
    return tuple(str(value).upper() for value in scalars(tags[keyword])) if keyword in tags else ()
