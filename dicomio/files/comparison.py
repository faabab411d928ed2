"""Whether two files hold the same image in two encodings: compares decoded values, not bytes.

A PACS that passes a study on may send Explicit VR where the scanner sent Implicit VR, leave out group lengths, or
compress without loss. Lists of elements, their values and the decoded pixels are what has to be equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

from dicomio.files.part10 import Part10, open_values, parse
from dicomio.files.vr import NOT_TOLD
from dicomio.volumes.frames import stored_pixels
from dicomio.volumes.pixels import PixelError

_CHUNK = 1 << 20


def is_same_image(first: Path, second: Path) -> bool:
    """Whether the data sets are equal once decoded; False as well where one of them cannot be decoded."""
    try:
        one, other = parse(first), parse(second)
        return _equal_elements(one.dataset, other.dataset) and _equal_pixels(one, other)
    except Exception:  # a parser fed with arbitrary bytes: what cannot be compared is not known to be equal
        return False


def _equal_elements(one: Dataset, other: Dataset) -> bool:
    tags = _tags(one)
    return tags == _tags(other) and all(_equal(one[tag], other[tag]) for tag in tags)


def _tags(dataset: Dataset) -> list[BaseTag]:
    """Without group lengths, which describe the encoding."""
    return sorted(filter(lambda tag: tag.element != 0, dataset.keys()))


def _equal(one: DataElement, other: DataElement) -> bool:
    if one.VR != other.VR:
        one, other = _understood(one, str(other.VR)), _understood(other, str(one.VR))
    if one.VR == other.VR == "SQ":
        items, others = list(one.value), list(other.value)
        return len(items) == len(others) and all(map(_equal_elements, items, others))
    return bool(one.VR == other.VR and _values(one) == _values(other))


def _understood(element: DataElement, vr: str) -> DataElement:
    """An element without an explicit VR, converted by the VR of the other one."""
    value = element.value
    if element.VR not in NOT_TOLD or vr in NOT_TOLD or not isinstance(value, bytes):
        return element
    return convert_raw_data_element(RawDataElement(element.tag, vr, len(value), value, 0, True, True))


def _values(element: DataElement) -> Any:
    """Values as text where they are text, so that one that came as a number of other precision is another one."""
    value = element.value
    if isinstance(value, bytes):
        return value.rstrip(b"\x00") if element.VR in ("OB", "UN") else value
    return [repr(item) for item in value] if isinstance(value, list | tuple) else repr(value)


def _equal_pixels(one: Part10, other: Part10) -> bool:
    if one.pixels is None or other.pixels is None:
        return one.pixels is other.pixels
    if _is_plain(one) and _is_plain(other) and one.pixels.length == other.pixels.length:
        return all(a == b for a, b in zip(_pieces(one), _pieces(other), strict=True))
    first, second = stored_pixels(one), stored_pixels(other)
    if first.frames != second.frames:
        return False
    wanted = range(first.frames)
    pairs = zip(first.read(wanted), second.read(wanted), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def _is_plain(file: Part10) -> bool:
    """Whether the pixels lie there as they are, in little endian."""
    syntax = UID(file.dataset.file_meta.get("TransferSyntaxUID", ""))
    return not syntax.is_private and not syntax.is_compressed and syntax.is_little_endian


def _pieces(file: Part10) -> Iterator[bytes]:
    if file.pixels is None or file.pixels.length is None:
        raise PixelError("the pixels are compressed, though the file says otherwise")
    with open_values(file.path, inflated=file.inflated) as stream:
        stream.seek(file.pixels.offset)
        left = file.pixels.length
        while left > 0:
            piece = stream.read(min(left, _CHUNK))
            yield piece
            left -= len(piece) or left
