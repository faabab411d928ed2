"""From about where the brain is to its outline: tissue that hangs together with the middle, without bone and scalp.

Between brain and scalp lie fluid and bone, both dark on T1 and FLAIR. Tissue is cut loose from what touches it through
thin bridges (dura, vessels, optic nerves), grown back, and closed over the folds. All of it at 2 mm; lengths in mm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own documentation calls it so
from scipy import ndimage

from pipelines.errors import BrainNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

VOXEL_MM = 2.0

CORE_MM = 8.0
"""So deep inside the template's brain there is brain, however it looks: ventricles, necroses, cavities."""

REACH_MM = 6.0
"""So far outside of it there may be brain still."""

BRIDGE_MM = 3.5
"""Half the width of what is cut."""

FOLD_MM = 6.0
"""Half the width of what is closed."""

TISSUE = (0.55, 2.5)
"""Brightness of tissue, relative to the brain around it: fluid and bone are darker, fat may be brighter."""

SHELL_MM = (1.0, 7.0)
LEAST_BONE = 0.25

EVENNESS_MM = 20.0
"""Brightness is relative to the brain within about this distance: coils are nearer to the back of a head."""


def refine(images: Sequence[NDArray[np.float32]], roughly: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The brain's outline.

    Args:
        images: One or more sequences on which fluid is dark (T1, FLAIR), (slices, rows, columns), voxels of `VOXEL_MM`.
        roughly: The template's brain, laid on them.

    Raises:
        BrainNotFound: There is nothing bright where the brain should be.
    """
    depth = signed_depth(roughly)
    core, near = depth > CORE_MM, depth > -REACH_MM
    if not core.any():
        raise BrainNotFound(reason="the template's brain lies outside of the images")
    brightness = np.mean([_relative(image, core) for image in images], axis=0)
    tissue = (brightness > TISSUE[0]) & (brightness < TISSUE[1]) & near | core
    loose = _largest(signed_depth(tissue) > BRIDGE_MM, core)
    grown = _largest((signed_depth(loose) > -BRIDGE_MM - VOXEL_MM / 2) & tissue, core)
    closed = signed_depth(signed_depth(grown) > -FOLD_MM) > FOLD_MM
    filled = ndimage.binary_fill_holes(closed & near | core)
    smooth = ndimage.gaussian_filter(filled.astype(np.float32), 0.6) > 0.5
    mask = _largest(smooth, core)
    bone = bone_around(mask, brightness)
    if bone < LEAST_BONE:
        raise BrainNotFound(reason=f"only {bone:.0%} of what is around it is dark, as bone and fluid are")
    return mask


def bone_around(mask: NDArray[np.bool_], brightness: NDArray[np.float32]) -> float:
    """Share of the shell around a mask that is darker than tissue; noise, or a block of anything, has none.

    Where it is 0, nothing was imaged. On whole heads of three patients it was 0.41 to 0.61.
    """
    depth = signed_depth(mask)
    shell = (depth < -SHELL_MM[0]) & (depth > -SHELL_MM[1]) & (brightness > 0)
    return float((brightness[shell] < TISSUE[0]).mean()) if shell.any() else 0.0


def signed_depth(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance in mm to the surface of a mask with voxels of `VOXEL_MM`, positive inside."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([VOXEL_MM] * 3)
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    # It counts from the outermost voxels' middles; the surface runs half a voxel further out.
    return np.asarray(sitk.GetArrayFromImage(distance), np.float32) + np.float32(VOXEL_MM / 2)


def _relative(image: NDArray[np.float32], core: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Brightness relative to the usual one of the brain around each voxel."""
    usual = float(np.median(image[core]))
    if usual <= 0:
        raise BrainNotFound(reason="the images are dark where the brain should be")
    brain = core & (image > 0.4 * usual) & (image < 1.8 * usual)
    step = max(1, round(EVENNESS_MM / VOXEL_MM / 4))
    sigma = EVENNESS_MM / VOXEL_MM / step
    values, weight = (
        ndimage.gaussian_filter(array[::step, ::step, ::step].astype(np.float32), sigma, truncate=3)
        for array in (np.where(brain, image, np.float32(0)), brain)
    )
    field = np.where(weight > 1e-3, values / np.maximum(weight, 1e-3), usual)
    scale = [fine / coarse for fine, coarse in zip(image.shape, field.shape, strict=True)]
    even = ndimage.zoom(np.clip(field, 0.5 * usual, 2 * usual), scale, order=1, mode="nearest")
    return np.asarray(image / even, np.float32)


def _largest(mask: NDArray[np.bool_], seed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The piece of a mask that holds most of the seed."""
    pieces, count = ndimage.label(mask)
    held = np.bincount(pieces[seed], minlength=count + 1)
    held[0] = 0
    if not held.any():
        raise BrainNotFound(reason="no tissue was found where the brain should be")
    return np.asarray(pieces == held.argmax(), bool)
