"""Packs the pixels of a segmentation frame by frame, so that only one frame is held at full size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomio.volumes.masks import MaskBox


def plane(box: MaskBox, index: int) -> NDArray[np.bool_]:
    """One slice of a mask at full size (rows, columns)."""
    plane = np.zeros(box.grid[1:], dtype=bool)
    plane[box.window()] = box.plane(index)
    return plane


def labels(boxes: Mapping[int, MaskBox], index: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """One slice of the label map at full size (rows, columns)."""
    plane = np.zeros(next(iter(boxes.values())).grid[1:], dtype=dtype)
    for number, box in boxes.items():
        if 0 <= index - box.start[0] < len(box.voxels):
            plane[box.window()][box.plane(index)] = number
    return plane


def overlap(boxes: Mapping[int, MaskBox]) -> tuple[int, int] | None:
    """The first two segments that share a voxel."""
    numbers = list(boxes)
    for place, first in enumerate(numbers):
        for second in numbers[place + 1 :]:
            if boxes[first].touches(boxes[second]):
                return first, second
    return None


def pack_bits(planes: Iterable[NDArray[np.bool_]]) -> bytes:
    """Packs frames eight pixels to a byte, first pixel lowest, without a gap between frames (PS3.5 8.1.1 and D)."""
    parts, rest = [], np.zeros(0, dtype=bool)
    for plane in planes:
        pixels = np.concatenate([rest, plane.ravel()]) if rest.size else plane.ravel()
        whole = pixels.size // 8 * 8
        parts.append(np.packbits(pixels[:whole], bitorder="little").tobytes())
        rest = pixels[whole:]
    parts.append(np.packbits(rest, bitorder="little").tobytes())
    return pad_even(b"".join(parts))


def pad_even(pixels: bytes) -> bytes:
    """Padded to an even number of bytes, as DICOM requires."""
    return pixels + b"\0" * (len(pixels) % 2)
