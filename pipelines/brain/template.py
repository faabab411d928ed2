"""The MNI152 brain, and a head built around it: what a patient's head is laid on to find the brain in it.

The atlas that we may ship has no head. Its brain alone is laid on a whole head as if the head were the brain: both are
bright against dark. So it gets what lies around any brain: fluid and bone, which are dark, and scalp, which is bright,
on every sequence. Where faces and necks differ, below the brain, nothing is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = Path(__file__).with_name("templates") / "mni152-t1-2mm.npz"
SPACING_MM = 2.0
MARGIN = 14
"""Voxels added on every side, for the head."""

BONE_MM, SCALP_MM, AIR_MM = 7.5, 6.0, 12.0
"""Thickness of fluid and bone, of scalp, and of the air around that is compared too."""

BONE, SCALP = 0.08, 1.2
"""Brightness relative to white matter."""

BASE_MM = 0.0
"""Below this height (MNI z) the head is not like others, and no more than `NEAR_MM` around the brain is compared."""

NEAR_MM = 4.0


@dataclass(frozen=True, eq=False)
class Template:
    """A head with a known brain, voxels of 2 mm.

    Attributes:
        head: Grey values, float32 (slices, rows, columns): brain, bone, scalp.
        compared: Where an image should look like `head`, bool.
        brain: The brain, bool.
        affine: (4, 4) array index -> MNI coordinates, LPS mm.
    """

    head: NDArray[np.float32]
    compared: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    affine: NDArray[np.float64]

    @property
    def centre(self) -> NDArray[np.float64]:
        """Middle of the template, which is that of the brain's bounding box, LPS mm."""
        middle: NDArray[np.float64] = self.points((np.array(self.brain.shape) - 1) / 2)
        return middle

    @cached_property
    def outermost(self) -> NDArray[np.float64]:
        """First and last voxel of each row of the brain, (n, 3) LPS mm: its ends in all directions are among them."""
        slices, rows = np.nonzero(self.brain.any(axis=2))
        lines = self.brain[slices, rows]
        ends = (lines.argmax(axis=1), lines.shape[1] - 1 - lines[:, ::-1].argmax(axis=1))
        index = np.concatenate([np.stack([slices, rows, columns], axis=1) for columns in ends])
        return self.points(index.astype(np.float64))

    def points(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """MNI coordinates (..., 3) of array indices (..., 3)."""
        moved: NDArray[np.float64] = index @ self.affine[:3, :3].T + self.affine[:3, 3]
        return moved


@cache
def template() -> Template:
    """The template; read once per process."""
    with np.load(FILE, allow_pickle=False) as stored:
        brain = np.unpackbits(stored["mask"], axis=-1, count=int(stored["shape"][-1])).astype(bool)
        t1, affine = stored["t1"].astype(np.float32), stored["affine"]
    brain, t1 = np.pad(brain, MARGIN), np.pad(t1, MARGIN)
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, MARGIN)
    return _with_head(t1, brain, affine)


def _with_head(t1: NDArray[np.float32], brain: NDArray[np.bool_], affine: NDArray[np.float64]) -> Template:
    white = float(np.percentile(t1[brain], 80))
    cavity = ndimage.binary_closing(brain, iterations=8) | brain
    away = ndimage.distance_transform_edt(~cavity, sampling=SPACING_MM)
    head = np.where(brain, t1, np.float32(0.25 * white))  # fluid between the folds
    head[away > 0] = BONE * white
    head[away > BONE_MM] = SCALP * white
    head[away > BONE_MM + SCALP_MM] = 0
    compared = away < BONE_MM + SCALP_MM + AIR_MM
    height = affine[2, 3] + SPACING_MM * np.arange(len(brain))
    compared[height < BASE_MM] &= away[height < BASE_MM] < NEAR_MM
    return Template(ndimage.gaussian_filter(head, 0.7), compared, brain, affine)
