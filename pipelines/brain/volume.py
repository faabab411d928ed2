"""`brain-volume-v1`: four MR sequences of a brain as one network input. Training and serving both call this file.

The network is shown a whole brain, at once or slice by slice: a box of `SHAPE` voxels of `SPACING_MM`, (slices, rows,
columns), slices running to the head, rows to the patient's posterior, columns to the patient's left, with the brain in
its middle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicomio.volumes.masks import largest_piece
from pipelines.preprocess import Array

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAME = "brain-volume-v1"
CHANNELS = ("flair", "t1", "t1ce", "t2")
SHAPE = (160, 192, 160)
SPACING_MM = 1.0
LIMIT = 6.0
"""Standard deviations beyond which brightness says no more: vessels with contrast, cerebrospinal fluid on T2."""


def stripped_brain(images: NDArray[Any]) -> NDArray[np.bool_]:
    """The brain of images whose skull was taken off: the largest piece where two or more of them are not zero, filled.

    What is thinner than three voxels does not count: lossy compression leaves a fringe around a brain.

    Args:
        images: (4, slices, rows, columns), channels as in `CHANNELS`. One alone may have specks beyond the brain.
    """
    bright = (images > 0).sum(axis=0) >= 2
    opened = ndimage.binary_opening(bright, np.ones((3, 3, 3), bool))
    return np.asarray(ndimage.binary_fill_holes(largest_piece(opened)), bool)


def centre_of(brain: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Middle voxel (slice, row, column) of the brain's bounding box, rounded down; of the array's where it is empty."""
    middle = []
    for axis in range(3):
        inside = np.flatnonzero(brain.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = (inside[0], inside[-1]) if inside.size else (0, brain.shape[axis] - 1)
        middle.append(int(first + last) // 2)
    return middle[0], middle[1], middle[2]


def crop(image: NDArray[Any], centre: tuple[int, int, int]) -> NDArray[Any]:
    """The box of `SHAPE` whose voxel `SHAPE // 2` is `centre`; zero beyond the image.

    Args:
        image: (..., slices, rows, columns) with voxels of `SPACING_MM`.
        centre: See `centre_of`.
    """
    out = np.zeros((*image.shape[:-3], *SHAPE), image.dtype)
    source, target = [], []
    for middle, length, size in zip(centre, image.shape[-3:], SHAPE, strict=True):
        start = middle - size // 2
        low, high = max(0, start), min(length, start + size)
        source.append(slice(low, high))
        target.append(slice(low - start, high - start))
    out[..., target[0], target[1], target[2]] = image[..., source[0], source[1], source[2]]
    return out


def standardise(images: NDArray[Any], brain: NDArray[np.bool_]) -> Array:
    """Every channel to mean 0 and deviation 1 over the brain, clipped to `LIMIT`; 0 outside the brain.

    Args:
        images: (4, slices, rows, columns), channels as in `CHANNELS`.
        brain: (slices, rows, columns).

    Raises:
        ValueError: The shapes do not fit, or there is no brain.
    """
    if images.shape[1:] != brain.shape or len(images) != len(CHANNELS):
        raise ValueError(f"expected {len(CHANNELS)} images on the brain's grid {brain.shape}, received {images.shape}")
    if not brain.any():
        raise ValueError("the brain mask is empty")
    out = np.zeros(images.shape, np.float32)
    for channel, image in enumerate(images):
        values = image[brain].astype(np.float32)
        middle, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        mapped = (values - np.float32(middle)) / np.float32(max(deviation, 1e-6))
        out[channel][brain] = np.clip(mapped, -LIMIT, LIMIT)
    return out


class NeighbourSlices:
    """A prepared brain for a network that answers for one slice at a time and sees others beside it.

    Slices without any brain are not shown to it: there is nothing there.

    Args:
        volume: (channels, slices, rows, columns), as `standardise` makes it.
        neighbours: Which slices are seen, counted from the one that is answered for, such as -2, 0 and 2.
    """

    def __init__(self, volume: Array, neighbours: Sequence[int]) -> None:
        self._slices = np.ascontiguousarray(np.moveaxis(volume, 1, 0))  # so that stacking copies whole slices
        self._offsets = np.asarray(neighbours)
        self.shown: NDArray[np.intp] = np.flatnonzero(self._slices.any(axis=(1, 2, 3)))

    def __len__(self) -> int:
        return len(self._slices)

    def inputs(self, start: int, stop: int) -> Array:
        """Slices start..stop-1 as (n, neighbours x channels, rows, columns); the last slices stand for any beyond."""
        seen = np.clip(np.arange(start, stop)[:, None] + self._offsets, 0, len(self) - 1)
        stacked: Array = self._slices[seen].reshape(len(seen), -1, *self._slices.shape[2:])
        return stacked

    def joined(self, answers: Iterable[tuple[int, Array]], classes: int) -> Array:
        """Probabilities (classes, slices, rows, columns) of answers (first slice, (n, classes, rows, columns))."""
        out = np.zeros((classes, len(self), *self._slices.shape[2:]), np.float32)
        for start, answer in answers:
            out[:, start : start + len(answer)] = np.moveaxis(answer, 0, 1)
        return out
