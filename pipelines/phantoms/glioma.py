"""The brain MR phantom with four sequences, and lesions of the parts that a glioma has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.phantoms.brain import BrainPhantom
from pipelines.phantoms.shapes import Mask, SliceArray

EDEMA_SHARE = 0.30
"""Of a lesion's radius."""

RIM_MM = 4.5
"""Thickness of what enhances, around the necrosis."""

CHANGE = {
    "edema": {"flair": 0.75, "t1": -0.16, "t1ce": -0.12, "t2": 0.75},
    "enhancing": {"flair": 0.50, "t1": -0.12, "t1ce": 0.80, "t2": 0.45},
    "non-enhancing core": {"flair": 0.35, "t1": -0.42, "t1ce": -0.34, "t2": 1.30},
}
"""How much brighter than white matter each part is, as a share."""


class GliomaPhantom(BrainPhantom):
    """A head with FLAIR, T1, T1 with contrast and T2; lesions with edema, an enhancing rim and a necrotic core."""

    images: tuple[str, ...] = ("flair", "t1", "t1ce", "t2")

    def _prepare(self) -> None:
        super()._prepare()
        vary = np.random.default_rng([self.options.seed, 4]).uniform(0.9, 1.1, 6)
        names = ("_fat", "_bone", "_csf", "_white", "_grey", "_air")
        for name, t2, factor in zip(names, (330.0, 38.0, 640.0, 205.0, 275.0, 0.0), vary, strict=True):
            setattr(self, name, replace(getattr(self, name), t2=t2 * factor))
        self._nuclei = replace(self._nuclei, t2=(self._grey.t2 + self._white.t2) / 2)

    def _with_lesions(self, name: str, grey: NDArray[Any], lesion: SliceArray, z: float, inside: Mask) -> NDArray[Any]:
        """The parts in the order in which one lies within the other, each with an edge of 2 mm."""
        white = getattr(self._white, name)
        texture = 1 + 0.06 * self._heterogeneity.plane(z, self._y, self._x)
        for part, depth in self._depths(z).items():
            weight = np.clip(depth / 2 + 0.5, 0, 1) * inside
            grey = grey * (1 - weight) + weight * white * (1 + CHANGE[part][name] * texture)
        return np.asarray(grey)

    def _parts(self, z: float, lesion: Mask) -> dict[str, Mask]:
        """See the base class."""
        whole, core, necrosis = (depth > 0 for depth in self._depths(z).values())
        return {
            "edema": lesion & ~core,
            "non-enhancing core": lesion & core & necrosis,
            "enhancing": lesion & core & ~necrosis & whole,
        }

    def _depths(self, z: float) -> dict[str, SliceArray]:
        """Depth in mm below the surface of edema, of the rim, and of the core within the rim."""
        whole = np.full((len(self._y), len(self._y)), -1e3, np.float32)
        core, necrosis = whole.copy(), whole.copy()
        for blob in self.lesions:
            if blob.reaches(z):
                depth = blob.depth(z, self._y, self._x)
                whole = np.maximum(whole, depth)
                core = np.maximum(core, depth - EDEMA_SHARE * blob.radius)
                necrosis = np.maximum(necrosis, depth - EDEMA_SHARE * blob.radius - RIM_MM)
        return {"edema": whole, "enhancing": core, "non-enhancing core": necrosis}
