"""Random sub-volumes of scans that hold enough tumour (system D)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.items import Pair


def draw_patch(
    image: NDArray[Any], truth: NDArray[np.uint8], size: tuple[int, ...], least: float, generator: np.random.Generator
) -> Pair:
    """One of all sub-volumes whose voxels are tumour by at least `least`; of a small tumour, one that holds most of it.

    The publication draws until it hits one; counting all positions at once needs no luck and gives the same odds.

    Args:
        image: (channels, slices, rows, columns).
        truth: (classes, slices, rows, columns), 0 or 1.
        size: (slices, rows, columns) of the patch; scans that are smaller are padded with zeros.
        least: Share of tumour voxels, 0..1.
        generator: Where chance comes from.
    """
    image, truth = pad_to(image, size), pad_to(truth, size)
    share = _box_sums(np.asarray(truth.any(axis=0)), size) / float(np.prod(size))
    enough = np.argwhere(share >= min(least, float(share.max())))
    start = enough[generator.integers(len(enough))]
    where = (slice(None), *(slice(int(a), int(a) + n) for a, n in zip(start, size, strict=True)))
    return np.asarray(image[where]), truth[where]


def pad_to(array: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """Zeros at the far ends of (channels, ...), so that every axis is at least `size` long."""
    missing = [max(0, wanted - have) for wanted, have in zip(size, array.shape[1:], strict=True)]
    return np.pad(array, [(0, 0), *((0, n) for n in missing)]) if any(missing) else array


def _box_sums(mask: NDArray[np.bool_], size: tuple[int, ...]) -> NDArray[np.int32]:
    """True voxels in the box of `size` that starts at each position where it fits."""
    sums = mask.astype(np.int32)
    for axis, length in enumerate(size):
        total = np.cumsum(sums, axis=axis, dtype=np.int32)
        total = np.concatenate([np.zeros_like(total.take([0], axis)), total], axis)
        count = mask.shape[axis] - length + 1
        ends, starts = np.arange(length, length + count), np.arange(count)
        sums = total.take(ends, axis) - total.take(starts, axis)
    return sums
