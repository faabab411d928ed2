"""Where the brain is: as it comes when the skull was taken off already, else by laying a template on the head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicomio.volumes.grid import resample_onto
from dicomio.volumes.masks import extents
from dicomio.volumes.volume import Volume
from pipelines.brain.grid import covered, cut, empty_grid, millimetre_grid, sample
from pipelines.brain.refinement import VOXEL_MM, refine, signed_depth
from pipelines.brain.registration import register_template
from pipelines.brain.skull_stripped import is_stripped
from pipelines.brain.template import template
from pipelines.brain.volume import CHANNELS, SPACING_MM, stripped_brain
from pipelines.errors import BrainNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dicomio.volumes.masks import Box
    from pipelines.brain.alignment import BrainStudy

DARK_FLUID = ("t1", "flair")
"""Sequences on which the brain stands out against fluid and bone; the template is laid on the first that is there."""

MARGIN_MM = 12.0

RIM_MM = 1.5
"""Fluid over the folds belongs to the brains that the network knows: without it 12 % of a BraTS brain was missing."""

BRAIN_ML = (400.0, 2300.0)
LEAST_LIKENESS = 0.75
"""Dice of the outline with the template's: below, one of the two has gone astray."""


@dataclass(frozen=True, eq=False)
class Brain:
    """A brain that was found.

    Attributes:
        mask: (slices, rows, columns).
        grid: The grid of the mask, 1 mm, in the FLAIR's patient coordinates.
        notes: How it was found.
    """

    mask: NDArray[np.bool_]
    grid: Volume
    notes: tuple[str, ...]


def find_brain(study: BrainStudy) -> Brain:
    """Finds the brain in a study of four sequences.

    Raises:
        BrainNotFound: Nothing that it could be.
    """
    if all(is_stripped(study.images[role]) for role in DARK_FLUID):
        grid = millimetre_grid(study.flair)
        images = [sample(study.images[role], grid, study.transform(role)) for role in CHANNELS]
        mask = stripped_brain(np.stack(images))
        if mask.sum() / 1000 < BRAIN_ML[0]:
            raise BrainNotFound(reason="the images came without the skull, but do not show the same brain")
        return Brain(mask, grid, ("The images came without the skull",))
    images_used = {role: study.images[role] for role in DARK_FLUID}
    transforms = {role: study.transform(role) for role in DARK_FLUID}
    return extract_brain(images_used, transforms)


def extract_brain(images: Mapping[str, Volume], transforms: Mapping[str, NDArray[np.float64] | None]) -> Brain:
    """Takes the skull off.

    Args:
        images: One or both of `DARK_FLUID`, whole heads.
        transforms: Common coordinates -> those of each image; None where they are the same.

    Returns:
        The brain on a grid that lies upright in it, as the template does: heads are scanned tilted.

    Raises:
        BrainNotFound: Nothing that it could be.
    """
    first = next(role for role in DARK_FLUID if role in images)
    lying = register_template(images[first])
    transform = transforms[first]
    if transform is not None:
        lying = np.linalg.inv(transform) @ lying
    grid = upright_grid(images[first], lying)
    roughly = _template_brain(grid, lying)
    values = [np.asarray(resample_onto(images[role], grid, transform=transforms[role], outside=0.0), np.float32)
              for role in images]  # fmt: skip
    mask = refine(values, roughly)
    for role, image in images.items():
        mask &= covered(image, grid, transforms[role])
    _check(mask, roughly)
    fine = _finer(cut(grid, _with_rim(extents(mask), mask.shape)))
    depth = resample_onto(_like(grid, signed_depth(mask)), fine, outside=-MARGIN_MM)
    return Brain(depth > -RIM_MM, fine, ("The brain was found by laying a template on the head",))


def upright_grid(like: Volume, lying: NDArray[np.float64]) -> Volume:
    """Voxels of `VOXEL_MM` along the template's axes, turned as it lies in the patient, around its brain."""
    known = template()
    left, _, right = np.linalg.svd(lying[:3, :3])
    turned = left @ right
    points = known.outermost @ lying[:3, :3].T + lying[:3, 3]
    along = points @ turned
    low, high = along.min(axis=0) - MARGIN_MM, along.max(axis=0) + MARGIN_MM
    shape = np.ceil((high - low) / VOXEL_MM).astype(int)[::-1] + 1
    affine = np.eye(4)
    affine[:3, :3] = turned[:, ::-1] * VOXEL_MM
    affine[:3, 3] = turned @ low
    return empty_grid(like, affine, tuple(int(size) for size in shape))


def _template_brain(grid: Volume, lying: NDArray[np.float64]) -> NDArray[np.bool_]:
    known = template()
    brain = Volume(known.brain.astype(np.float32), known.affine, "", "MR", "", (), None)
    return np.asarray(resample_onto(brain, grid, transform=np.linalg.inv(lying), outside=0.0) > 0.5, bool)


def _with_rim(box: Box, shape: tuple[int, ...]) -> Box:
    """A box and the voxels around it that its rim may reach, within a grid of `shape`."""
    rim = math.ceil(RIM_MM / VOXEL_MM) + 1
    first, second, third = (
        slice(max(0, part.start - rim), min(size, part.stop + rim)) for part, size in zip(box, shape, strict=True)
    )
    return first, second, third


def _finer(grid: Volume) -> Volume:
    """The same place in voxels of 1 mm."""
    times = round(VOXEL_MM / SPACING_MM)
    affine = grid.affine.copy()
    affine[:3, :3] /= times
    return empty_grid(grid, affine, tuple((size - 1) * times + 1 for size in grid.array.shape))


def _like(grid: Volume, array: NDArray[np.float32]) -> Volume:
    return Volume(array, grid.affine, grid.frame_of_reference_uid, grid.modality, grid.series_instance_uid, (), None)


def _check(mask: NDArray[np.bool_], roughly: NDArray[np.bool_]) -> None:
    volume = float(mask.sum()) * VOXEL_MM**3 / 1000
    if not BRAIN_ML[0] <= volume <= BRAIN_ML[1]:
        raise BrainNotFound(reason=f"what was found has {volume:.0f} ml")
    likeness = 2 * float((mask & roughly).sum()) / float(mask.sum() + roughly.sum())
    if likeness < LEAST_LIKENESS:
        raise BrainNotFound(reason=f"what was found is not shaped like one, Dice {likeness:.2f} with a template")
