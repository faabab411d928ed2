"""Moves volumes between grids: to and from SimpleITK, resampling, turning to an anatomical plane.

Nothing here invents an orientation: a grid is the affine of a volume, and all coordinates are LPS in mm on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal, cast

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation calls it so

from dicomio.volumes.masks import Box
from dicomio.volumes.volume import Volume

Interpolation = Literal["linear", "nearest", "bspline"]
Plane = Literal["axial", "coronal", "sagittal"]

_INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "bspline": sitk.sitkBSpline}
# Directions (LPS) in which slice, row and column index grow: as radiologists look at the plane, and right-handed.
_PLANES = {
    "axial": np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]),  # feet to head, front to back, right to left
    "coronal": np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]]),  # front to back, head to feet, right to left
    "sagittal": np.array([[-1, 0, 0], [0, 0, -1], [0, 1, 0]]),  # left to right, head to feet, front to back
}


def to_sitk(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image (whose index is column, row, slice) at the same place in the patient, copied."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array))
    image.SetSpacing(volume.spacing[::-1])
    image.SetOrigin(volume.affine[:3, 3].tolist())
    image.SetDirection(_direction(volume))
    return image


def from_sitk(image: sitk.Image, like: Volume) -> Volume:
    """A SimpleITK image as a volume of the same patient and frame of reference as `like`.

    Returns:
        A volume with the array and place of the image. Its slices are tied to the source images of `like` only if it
        lies on the same grid; else `source_axis` is None.
    """
    array = sitk.GetArrayFromImage(image)
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = (direction * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    same = array.shape == like.array.shape and np.allclose(affine, like.affine, rtol=0, atol=1e-6)
    return replace(like, array=array, affine=affine, source_axis=like.source_axis if same else None)


def resample_onto(
    moving: Volume,
    fixed: Volume,
    *,
    interpolation: Interpolation = "linear",
    transform: np.ndarray | None = None,
    outside: float | None = None,
) -> np.ndarray:
    """The values of `moving` at the voxels of `fixed`.

    Args:
        moving: The volume to take values from.
        fixed: The volume whose grid is used; its values do not matter.
        interpolation: Between the voxels of `moving`.
        transform: (4, 4) patient coordinates of `fixed` -> those of `moving`, such as `register_rigid` returns; None
            where both share a frame of reference.
        outside: Value where `moving` ends; None takes its smallest value (air, or the background).

    Returns:
        Array of the shape of `fixed`: float32, with "nearest" in the type of `moving`.
    """
    value = float(moving.array.min()) if outside is None else outside
    kind = sitk.sitkUnknown if interpolation == "nearest" else sitk.sitkFloat32
    resampled = sitk.Resample(
        to_sitk(moving),
        fixed.array.shape[::-1],
        affine_transform(transform),
        _INTERPOLATORS[interpolation],
        fixed.affine[:3, 3].tolist(),
        fixed.spacing[::-1],
        _direction(fixed),
        value,
        kind,
    )
    return cast("np.ndarray", sitk.GetArrayFromImage(resampled))


def _direction(volume: Volume) -> list[float]:
    """Unit vectors of the column, row and slice axis, as SimpleITK lists them."""
    return cast("list[float]", (volume.affine[:3, 2::-1] / volume.spacing[::-1]).ravel().tolist())


def affine_transform(matrix: np.ndarray | None) -> sitk.Transform:
    """(4, 4) map of patient coordinates in mm as a SimpleITK transform; None is the identity."""
    transform = sitk.AffineTransform(3)
    if matrix is not None:
        transform.SetMatrix(matrix[:3, :3].ravel().tolist())
        transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


@dataclass(frozen=True)
class Reorientation:
    """How the axes of an array were exchanged and reversed; nothing is interpolated, so the inverse is exact.

    Attributes:
        axes: For each axis of the new array the axis of the old one that it was.
        flips: For each axis of the new array whether it runs the other way.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """A view of an array of the original volume's shape, in the new orientation."""
        return self._flipped(array.transpose(self.axes))

    def inverse(self, array: np.ndarray) -> np.ndarray:
        """A view of an array (a mask) of the reoriented volume's shape, back on the grid of the original volume."""
        old_axes = [self.axes.index(axis) for axis in range(3)]
        return self._flipped(array).transpose(old_axes)

    def inverse_box(self, box: Box, shape: tuple[int, ...]) -> Box:
        """Where a box of a reoriented array of `shape` lies in the original one."""
        turned = [
            slice(size - part.stop, size - part.start) if flipped else part
            for part, size, flipped in zip(box, shape, self.flips, strict=True)
        ]
        first, second, third = (turned[self.axes.index(axis)] for axis in range(3))
        return first, second, third

    def _flipped(self, array: np.ndarray) -> np.ndarray:
        return np.flip(array, tuple(axis for axis in range(3) if self.flips[axis]))


def reorient(volume: Volume, plane: Plane) -> tuple[Volume, Reorientation]:
    """The volume with its axes exchanged and reversed so that its slices lie as nearly as possible in a plane.

    Args:
        volume: In any orientation, oblique ones too: its axes go to the nearest anatomical ones, each to another.
        plane: "axial" has slices from feet to head, rows from front to back, columns from right to left.

    Returns:
        The volume (its array a view, not a copy) and how to bring a mask back. `sources` still are the original slices
        in the order of the new array; they run along `source_axis`, which is 0 only if the slices stayed slices. A mask
        is brought back with `Reorientation.inverse` before it is written as a segmentation of the original images.
    """
    directions = volume.affine[:3, :3] / volume.spacing
    likeness = _PLANES[plane] @ directions  # (new axis, old axis): cosine of the angle between them
    axes = max(permutations(range(3)), key=lambda order: sum(abs(likeness[new, old]) for new, old in enumerate(order)))
    flips = tuple(bool(likeness[new, old] < 0) for new, old in enumerate(axes))
    turning = Reorientation(cast("tuple[int, int, int]", axes), cast("tuple[bool, bool, bool]", flips))
    return _reoriented(volume, turning), turning


def _reoriented(volume: Volume, turning: Reorientation) -> Volume:
    array = turning.apply(volume.array)
    to_old = np.zeros((4, 4))  # new index -> old index
    to_old[3, 3] = 1
    for new, (old, flipped) in enumerate(zip(turning.axes, turning.flips, strict=True)):
        to_old[old, new] = -1 if flipped else 1
        to_old[old, 3] = array.shape[new] - 1 if flipped else 0
    sources, source_axis = volume.sources, volume.source_axis
    if source_axis is not None:
        source_axis = turning.axes.index(source_axis)
        sources = sources[::-1] if turning.flips[source_axis] else sources
    return replace(volume, array=array, affine=volume.affine @ to_old, sources=sources, source_axis=source_axis)
