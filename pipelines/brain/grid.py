"""Grids of 1 mm around a brain: images come onto them straight from their own grid, answers go back to the FLAIR's.

A grid is a `Volume` without values. Where an image's voxels are those of the grid, they are copied and not
interpolated: so serving feeds the network to the last bit what training fed it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation calls it so

from dicomio.volumes.grid import from_sitk, resample_onto, to_sitk
from pipelines.brain.volume import SHAPE, SPACING_MM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomio.volumes.volume import Volume

SAME_LATTICE = 1e-3
"""Voxels by which two grids may be apart and still be the same."""

THICK_MM = 2.0
"""A slice thicker than this is the mean of several samples of the answer, as its grey value is one of the tissue."""


def empty_grid(like: Volume, affine: NDArray[np.float64], shape: tuple[int, ...]) -> Volume:
    """A grid (slices, rows, columns) in the patient coordinates of `like`; its array takes no memory."""
    nothing = np.broadcast_to(np.float32(0), shape)
    return replace(like, array=nothing, affine=affine, sources=(), source_axis=None)


def millimetre_grid(volume: Volume) -> Volume:
    """Voxels of 1 mm over the whole of `volume` along its own axes; where it has such voxels, the same ones."""
    size = [int(np.ceil((n - 1) * step / SPACING_MM - SAME_LATTICE)) + 1
            for n, step in zip(volume.array.shape, volume.spacing, strict=True)]  # fmt: skip
    affine = volume.affine.copy()
    affine[:3, :3] *= SPACING_MM / np.array(volume.spacing)
    return empty_grid(volume, affine, tuple(size))


def box_around(grid: Volume, centre: tuple[int, int, int]) -> Volume:
    """The part of a grid that `volume.crop` cuts out (or adds beyond its ends)."""
    affine = grid.affine.copy()
    start = np.array(centre) - np.array(SHAPE) // 2
    affine[:3, 3] = grid.to_patient(start)
    return empty_grid(grid, affine, SHAPE)


def cut(grid: Volume, window: tuple[slice, ...]) -> Volume:
    """The part of a grid that a window of (slices, rows, columns) holds."""
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_patient(np.array([part.start for part in window]))
    return empty_grid(grid, affine, tuple(part.stop - part.start for part in window))


def sample(image: Volume, grid: Volume, transform: NDArray[np.float64] | None) -> NDArray[np.float32]:
    """The values of an image on a grid (slices, rows, columns); its smallest value where it ends.

    Args:
        image: On its own grid; in the plane finer than half a millimetre it is averaged first.
        grid: In the patient coordinates of the FLAIR.
        transform: (4, 4) FLAIR coordinates -> those of the image; None where they are the same.
    """
    offset = None if transform is not None else _lattice_offset(image, grid)
    if offset is None:
        return np.asarray(resample_onto(_averaged(image), grid, transform=transform), np.float32)
    out = np.full(grid.array.shape, image.array.min(), np.float32)
    here, there = _overlap(offset, grid.array.shape, image.array.shape)
    out[here] = image.array[there]
    return out


def covered(image: Volume, grid: Volume, transform: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """Which voxels of a grid (slices, rows, columns) lie within an image; arguments as of `sample`."""
    to_image = np.linalg.inv(image.affine) @ (np.eye(4) if transform is None else transform) @ grid.affine
    axes = [np.arange(size) for size in grid.array.shape]
    within = np.ones(grid.array.shape, bool)
    for axis, size in enumerate(image.array.shape):
        a, b, c, start = to_image[axis]
        place = a * axes[0][:, None, None] + b * axes[1][None, :, None] + c * axes[2][None, None, :] + start
        within &= (place >= -0.5) & (place <= size - 0.5)
    return within


def _lattice_offset(image: Volume, grid: Volume) -> tuple[int, int, int] | None:
    """The voxel of `image` on which the first voxel of `grid` lies, if all voxels of the two coincide."""
    to_image = np.linalg.inv(image.affine) @ grid.affine
    start = to_image[:3, 3]
    turned = np.abs(to_image[:3, :3] - np.eye(3)).max() * max(grid.array.shape)
    if turned > SAME_LATTICE or np.abs(start - np.rint(start)).max() > SAME_LATTICE:
        return None
    first = np.rint(start).astype(int)
    return int(first[0]), int(first[1]), int(first[2])


def _overlap(
    offset: tuple[int, ...], size: tuple[int, ...], source: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the target, and of the source, where they overlap; `offset` is the source's index of target 0."""
    here, there = [], []
    for first, n, m in zip(offset, size, source, strict=True):
        low, high = max(0, first), max(0, first, min(m, first + n))
        there.append(slice(low, high))
        here.append(slice(low - first, high - first))
    return tuple(here), tuple(there)


def _averaged(image: Volume) -> Volume:
    """The image with pixels of about a millimetre, where it has finer ones: interpolation alone would alias."""
    factors = [max(1, int(SPACING_MM / step + 0.01)) for step in image.spacing]
    if max(factors) == 1:
        return image
    shrunk = sitk.BinShrink(sitk.Cast(to_sitk(image), sitk.sitkFloat32), factors[::-1])
    return from_sitk(shrunk, image)


def restore(
    probability: NDArray[np.float32], box: Volume, target: Volume, threshold: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Thresholds an answer on the grid of another volume.

    Args:
        probability: (classes, slices, rows, columns) on `box`.
        box: Its grid, in the patient coordinates of `target`.
        target: The volume whose grid counts.
        threshold: Per class.

    Returns:
        (classes, slices, rows, columns) of `target`.
    """
    masks = np.zeros((len(probability), *target.array.shape), bool)
    window = _window(probability.max(axis=0) >= float(threshold.min()) / 2, box, target)
    if window is None:
        return masks
    part = _finer(cut(target, window))
    for mask, values, least in zip(masks, probability, threshold, strict=True):
        image = replace(box, array=values)
        there = _sampled(image, part[0])
        mask[window] = there.reshape(-1, part[1], *there.shape[1:]).mean(axis=1) >= least
    return masks


def _sampled(image: Volume, grid: Volume) -> NDArray[np.float32]:
    """As `sample`, with nothing beyond the image."""
    if _lattice_offset(image, grid) is not None:
        return sample(image, grid, None)
    return np.asarray(resample_onto(image, grid, outside=0.0), np.float32)


def _window(likely: NDArray[np.bool_], box: Volume, target: Volume) -> tuple[slice, ...] | None:
    """Where on the target's grid the likely voxels of the box can have any influence."""
    index = np.argwhere(likely)
    if index.size == 0:
        return None
    ends = np.stack([index.min(axis=0) - 1, index.max(axis=0) + 1])
    corners = np.array([[ends[side][axis] for axis, side in enumerate(sides)] for sides in product((0, 1), repeat=3)])
    there = (box.to_patient(corners) - target.affine[:3, 3]) @ np.linalg.inv(target.affine[:3, :3]).T
    low = np.clip(np.floor(there.min(axis=0)).astype(int) - 1, 0, target.array.shape)
    high = np.clip(np.ceil(there.max(axis=0)).astype(int) + 2, 0, target.array.shape)
    if (low >= high).any():
        return None
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _finer(grid: Volume) -> tuple[Volume, int]:
    """The grid with several slices in the place of each thick one, evenly through its thickness; and how many."""
    times = max(1, round(grid.spacing[0] / SPACING_MM)) if grid.spacing[0] > THICK_MM else 1
    affine = grid.affine.copy()
    affine[:3, 0] /= times
    affine[:3, 3] -= affine[:3, 0] * (times - 1) / 2
    size = grid.array.shape
    return empty_grid(grid, affine, (size[0] * times, *size[1:])), times
