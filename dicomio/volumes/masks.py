"""Binary masks, stored only within the box around their voxels: a lesion takes kilobytes, not a whole CT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Grid = tuple[int, int, int]
Box = tuple[slice, slice, slice]
"""Slices, rows and columns of a volume, each from a first to a last one."""


def grid_of(array: NDArray[np.generic]) -> Grid:
    """The shape of a volume (slices, rows, columns)."""
    slices, rows, columns = array.shape
    return slices, rows, columns


@dataclass(frozen=True, eq=False)
class MaskBox:
    """A binary mask, cut down to the box around its voxels.

    Attributes:
        start: Slice, row and column of the first voxel of the box in the volume.
        voxels: The mask inside the box (slices, rows, columns), bool.
        grid: Shape of the volume (slices, rows, columns).
    """

    start: Grid
    voxels: NDArray[np.bool_]
    grid: Grid

    @classmethod
    def of(cls, mask: NDArray[np.generic]) -> MaskBox:
        """Cuts a mask of a volume's shape (slices, rows, columns), zero outside, down to its box."""
        if mask.ndim != 3:
            raise ValueError(f"a mask has three axes (slices, rows, columns), this one has the shape {mask.shape}")
        return cls.placed(mask, (slice(0, None),) * 3, grid_of(mask))

    @classmethod
    def placed(cls, part: NDArray[np.generic], box: Box, grid: Grid) -> MaskBox:
        """Cuts a mask that lies in the box `box` of a volume of shape `grid` further down to its own box."""
        tight = extents(part)
        first, second, third = (outer.start + inner.start for outer, inner in zip(box, tight, strict=True))
        return cls((first, second, third), part[tight].astype(bool), grid)

    @property
    def empty(self) -> bool:
        """Whether it has no voxel at all."""
        return not self.voxels.any()

    @property
    def count(self) -> int:
        """Number of voxels."""
        return int(np.count_nonzero(self.voxels))

    def slices(self) -> list[int]:
        """Indices of the slices of the volume on which it has voxels, ascending."""
        return [self.start[0] + int(index) for index in np.flatnonzero(self.voxels.any(axis=(1, 2)))]

    def window(self) -> tuple[slice, slice]:
        """Rows and columns of a slice of the volume that the box covers."""
        _, rows, columns = self.voxels.shape
        return slice(self.start[1], self.start[1] + rows), slice(self.start[2], self.start[2] + columns)

    def of_volume(self, array: NDArray[Any]) -> NDArray[Any]:
        """The part of a volume's array (slices, rows, columns) that the box covers, a view."""
        return array[self.start[0] : self.start[0] + self.voxels.shape[0], *self.window()]

    def plane(self, index: int) -> NDArray[np.bool_]:
        """The mask inside the window on slice `index` of the volume, which the box must cover."""
        plane: NDArray[np.bool_] = self.voxels[index - self.start[0]]
        return plane

    def touches(self, other: MaskBox) -> bool:
        """Whether the two share a voxel."""
        low = np.maximum(self.start, other.start)
        high = np.minimum(np.add(self.start, self.voxels.shape), np.add(other.start, other.voxels.shape))
        if (low >= high).any():
            return False
        mine, theirs = (
            box.voxels[tuple(slice(int(a), int(b)) for a, b in zip(low - box.start, high - box.start, strict=True))]
            for box in (self, other)
        )
        return bool((mine & theirs).any())

    def full(self) -> NDArray[np.bool_]:
        """The mask on the whole grid of the volume."""
        mask = np.zeros(self.grid, dtype=bool)
        self.of_volume(mask)[...] = self.voxels
        return mask


def mask_boxes(labels: NDArray[np.integer], within: Box | None = None) -> Iterator[tuple[int, MaskBox]]:
    """Yields the number and the mask of every label above zero in a label map (slices, rows, columns), in one pass.

    Only the box `within` is searched, if given.
    """
    grid = grid_of(labels)
    whole = extents(labels) if within is None else within
    if whole[0].stop == 0:
        return
    inside = labels[whole]
    for number, box in enumerate(ndimage.find_objects(inside), start=1):
        if box is not None:
            first, second, third = (a.start + b.start for a, b in zip(whole, box, strict=True))
            yield number, MaskBox((first, second, third), inside[box] == number, grid)


def extents(mask: NDArray[np.generic]) -> Box:
    """Slices, rows and columns from the first to the last that is not zero; all empty where there are none.

    Each axis is looked through within what the axes before it left over: most of a long series is never touched again.
    """
    slices = _extent(mask.any(axis=(1, 2)))
    rows = _extent(mask[slices].any(axis=(0, 2)))
    return slices, rows, _extent(mask[slices, rows].any(axis=(0, 1)))


def _extent(occupied: Any) -> slice:
    """From the first to the last place that is occupied."""
    places = np.flatnonzero(occupied)
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0)


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask of any shape (pieces touch by their sides); nothing where there is none."""
    pieces, count = ndimage.label(mask)
    if count == 0:
        return np.zeros(mask.shape, bool)
    return np.asarray(pieces == piece_sizes(pieces, mask, count).argmax() + 1)


def piece_sizes(pieces: NDArray[np.integer], mask: NDArray[np.bool_], count: int) -> NDArray[np.intp]:
    """Voxels of each of the `count` pieces of a mask, as `ndimage.label` numbers them from 1.

    Only the mask's own voxels are counted through: the background, most of a box, took four fifths of the time.
    """
    return np.asarray(np.bincount(pieces[mask], minlength=count + 1)[1:], np.intp)
