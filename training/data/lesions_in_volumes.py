"""Lesions drawn into the liver of a whole CT, so that a network can be measured lesion by lesion where it has none.

The idea is that of `lesions.py` (Hu et al. 2023), in three dimensions: a lumpy ellipsoid with a soft border, darker
than the liver around it, with the image's own noise left in place. They are made up, and easier than many real ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.measure import bounding_box

Mask = NDArray[np.bool_]

DIAMETERS_MM = (12.0, 18.0, 28.0)
CONTRAST_HU = (25.0, 70.0)
BORDER_MM = 1.5


def draw_lesions(
    ct: NDArray[np.int16],
    liver: Mask,
    spacing: tuple[float, float, float],
    generator: np.random.Generator,
    diameters_mm: Sequence[float] = DIAMETERS_MM,
) -> tuple[NDArray[np.int16], Mask]:
    """A copy of the CT with a lesion of each diameter, and their mask; one for which there is no room is left out.

    Args:
        ct: HU (slices, rows, columns).
        liver: Same shape; lesions keep inside, and away from each other.
        spacing: Of slices, rows and columns in mm.
        generator: Where chance comes from.
        diameters_mm: Of the spheres that the ellipsoids are made of.
    """
    drawn, truth = ct.astype(np.float32), np.zeros(liver.shape, bool)
    box = bounding_box(liver)
    if box is None:
        return ct.copy(), truth
    room = ndimage.distance_transform_edt(np.pad(liver[box], 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    for diameter in sorted(diameters_mm, reverse=True):
        places = np.argwhere(room > diameter / 2)
        if not len(places):
            continue
        centre = places[generator.integers(len(places))]
        weight = shape_of(diameter / 2, spacing, generator)
        start = centre - np.array(weight.shape) // 2
        inside, part = _overlap(start, weight.shape, room.shape)
        weight = weight[part] * liver[box][inside]
        texture = 1 + 0.15 * waves(weight.shape, generator)
        drawn[box][inside] -= generator.uniform(*CONTRAST_HU) * texture * weight
        truth[box][inside] |= weight > 0.5
        axes = np.ogrid[tuple(slice(length) for length in room.shape)]
        away = sum(((axis - c) * step) ** 2 for axis, c, step in zip(axes, centre, spacing, strict=True))
        room = np.minimum(room, np.sqrt(np.asarray(away)) - diameter / 2 - 2 * BORDER_MM)
    return np.rint(drawn).astype(np.int16), truth


def shape_of(
    radius_mm: float, spacing: tuple[float, float, float], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Weights of a lumpy ellipsoid in the middle of its box: 1 inside, 0 outside, in between over `BORDER_MM`."""
    reach = [int(np.ceil(1.6 * radius_mm / step)) for step in spacing]
    axes = [np.arange(-r, r + 1) * step for r, step in zip(reach, spacing, strict=True)]
    turned = np.stack(np.meshgrid(*axes, indexing="ij"), -1) @ np.linalg.qr(generator.standard_normal((3, 3)))[0]
    stretch = generator.uniform(0.8, 1.25, 3)
    stretch /= stretch.prod() ** (1 / 3)  # whatever its shape, its volume stays
    distance = np.linalg.norm(turned / stretch, axis=-1)
    lumps = 1 + 0.12 * waves(distance.shape, generator)
    return np.asarray(np.clip((radius_mm * lumps - distance) / BORDER_MM + 0.5, 0, 1))


def _overlap(
    start: NDArray[np.intp], size: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a box that begins at `start` lies in an array of `shape`, and which part of the box that is."""
    low = np.maximum(start, 0)
    high = np.minimum(start + size, shape)
    whole = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return whole, tuple(slice(int(a), int(b)) for a, b in zip(low - start, high - start, strict=True))


def waves(shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise of deviation 1 at its knots, three of them along each axis."""
    coarse = generator.standard_normal((3, 3, 3))
    smooth = ndimage.zoom(coarse, [length / 3 for length in shape], order=3, mode="nearest", grid_mode=True)
    return np.asarray(smooth)
