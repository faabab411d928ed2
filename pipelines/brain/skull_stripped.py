"""Whether the skull was taken off an image already, as research data sets and some workstations have it.

Three things must hold: the background is one value, without noise; what is not background is as much as a
brain and not as a head; and under its outline there is brain at once. In a head there is scalp, and dark bone under it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from dicomio.volumes.masks import largest_piece

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomio.volumes.volume import Volume

BRAIN_ML = (300.0, 2300.0)
"""Less is a piece of one; on whole heads of 30 patients it was 3000 ml and more, on brains of BraTS 1300 to 1800."""

LEAST_BACKGROUND = 0.3
"""Share of the voxels: an ellipsoid leaves half of the box around it empty, brains of BraTS four fifths of theirs."""

BONE_DEPTH_MM = (5.0, 12.0)
DEEP_MM = 25.0
DARK = 0.35
"""Of the median brightness deep inside: cortical bone, and cerebrospinal fluid on FLAIR and T1."""

LEAST_BONE = 0.35
"""Share of voxels at bone's depth that are dark: 0.10 at most on brains of BraTS, 0.75 and more on heads."""


def is_stripped(image: Volume) -> bool:
    """Decides by the image alone; slices are looked at one by one, for they may be thick and few."""
    if (image.array == image.array.min()).mean() < LEAST_BACKGROUND:
        return False
    outline = _outline(image.array)
    volume = float(outline.sum()) * image.voxel_ml
    if not BRAIN_ML[0] <= volume <= BRAIN_ML[1]:
        return False
    depth = np.stack([ndimage.distance_transform_edt(plane, sampling=image.spacing[1:]) for plane in outline])
    deep = image.array[depth > DEEP_MM]
    rim = image.array[(depth > BONE_DEPTH_MM[0]) & (depth < BONE_DEPTH_MM[1])]
    if deep.size == 0 or rim.size == 0:
        return False
    return bool((rim < DARK * np.median(deep)).mean() < LEAST_BONE)


def _outline(array: NDArray[np.generic]) -> NDArray[np.bool_]:
    """All that is brighter than the background, which is the darkest value there is, filled; the largest piece."""
    values = np.asarray(array)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in largest_piece(values > values.min())])
