"""From a mask to figures: connected components, volumes, diameters in the anatomical planes, centroids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial.distance import pdist

from dicomio.volumes.masks import extents, piece_sizes
from pipelines.findings import Diameters, Label, Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dicomio.volumes.masks import Box, MaskBox
    from dicomio.volumes.volume import Volume

_FULL_CONNECTIVITY = np.ones((3, 3, 3), dtype=bool)
"""26 neighbours: lesions that touch at a corner are one lesion, as lesion-wise scores of LiTS and BraTS count them."""


@dataclass(frozen=True, eq=False)
class Components:
    """Connected components of a mask, largest first.

    Attributes:
        array: Component number per voxel (slices, rows, columns), uint16; 0 is background.
        count: How many there are.
        dropped: How many components were smaller than asked for.
    """

    array: NDArray[np.uint16]
    count: int
    dropped: int


def split_components(mask: NDArray[np.bool_], *, voxel_ml: float, min_volume_ml: float, most: int = 1000) -> Components:
    """Splits a mask (slices, rows, columns) into lesions of at least `min_volume_ml`, at the most `most` of them.

    Works inside the bounding box of the mask, so that a small lesion in a long series costs little.
    """
    array = np.zeros(mask.shape, np.uint16)
    box = bounding_box(mask)
    if box is None:
        return Components(array, 0, 0)
    inside, count = ndimage.label(mask[box], structure=_FULL_CONNECTIVITY)
    sizes = piece_sizes(inside, mask[box], count)
    order = np.argsort(-sizes, kind="stable")
    kept = [int(k) for k in order if sizes[k] * voxel_ml >= min_volume_ml][:most]
    renumber = np.zeros(count + 1, np.uint16)
    for number, k in enumerate(kept, start=1):
        renumber[k + 1] = number
    array[box] = renumber[inside]
    return Components(array, len(kept), count - len(kept))


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box (slices, rows, columns) that holds the mask; None for an empty one."""
    box = extents(mask)
    return box if box[0].stop else None


def measure_region(
    mask: MaskBox,
    volume: Volume,
    label: Label,
    tracking_id: str,
    *,
    component: int | None = None,
    with_diameters: bool = True,
    outlined: bool = True,
    holds: tuple[int, ...] = (),
) -> Region:
    """Measures one region of the grid of `volume`; the keywords are those of `Region`.

    Raises:
        ValueError: The mask is empty: there is nothing to measure.
    """
    if mask.empty:
        raise ValueError(f"{tracking_id}: an empty mask cannot be measured")
    profiles = [mask.voxels.sum(axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    per_slice = profiles[0]
    first, last = mask.slices()[0], mask.slices()[-1]
    # What ndimage.center_of_mass gives, without an array of coordinates per axis.
    centre = np.array([profile @ np.arange(profile.size) / profile.sum() for profile in profiles]) + mask.start
    centroid = volume.to_patient(centre)
    return Region(
        label=label,
        tracking_id=tracking_id,
        volume_ml=float(per_slice.sum() * volume.voxel_ml),
        centroid_lps=(float(centroid[0]), float(centroid[1]), float(centroid[2])),
        slices=(first, mask.start[0] + int(per_slice.argmax()), last),
        diameters=plane_diameters(mask.voxels, volume) if with_diameters else None,
        component=component,
        outlined=outlined,
        holds=holds,
    )


def plane_diameters(mask: NDArray[np.bool_], volume: Volume) -> Diameters:
    """Largest diameter of the mask within single axial, coronal and sagittal planes, mm.

    The planes are those of the voxel grid nearest to the patient's: an oblique series is measured in its own planes.
    """
    axes = anatomical_axes(volume.affine)
    largest = [max((_diameter(*plane) for plane in _planes(mask, volume.spacing, axis)), default=0.0) for axis in axes]
    return Diameters(sagittal_mm=largest[0], coronal_mm=largest[1], axial_mm=largest[2])


def anatomical_axes(affine: NDArray[np.float64]) -> tuple[int, int, int]:
    """Array axis that runs most along the patient's left, posterior and superior direction (LPS x, y, z)."""
    weights = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    best: tuple[float, tuple[int, int, int]] = (-1.0, (2, 1, 0))
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        total = float(sum(weights[axis, order[axis]] for axis in range(3)))
        if total > best[0]:
            best = (total, order)
    return best[1]


def _planes(
    mask: NDArray[np.bool_], spacing: tuple[float, float, float], axis: int
) -> Iterator[tuple[NDArray[np.bool_], tuple[float, float]]]:
    across = [s for a, s in enumerate(spacing) if a != axis]
    for plane in np.moveaxis(mask, axis, 0):
        if plane.any():
            yield plane, (across[0], across[1])


def _diameter(plane: NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    """Largest distance between two points of the outline, taken at the pixels' outer edge midpoints."""
    points = np.concatenate([_edge_points(plane), _edge_points(plane.T)[:, ::-1]])
    return float(pdist(points * np.asarray(spacing)).max())


def _edge_points(plane: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Left edge of the first and right edge of the last pixel in each row, as (row, column): the extremes."""
    rows = np.flatnonzero(plane.any(axis=1))
    first = plane[rows].argmax(axis=1) - 0.5
    last = plane.shape[1] - plane[rows, ::-1].argmax(axis=1) - 0.5
    return np.concatenate([np.stack([rows, first], axis=1), np.stack([rows, last], axis=1)]).astype(np.float64)
