"""The brain MR phantom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipelines.phantoms.shapes import Mask, Phantom, PhantomPlane, SliceArray, Waves, ellipsoid


@dataclass
class Tissue:
    """Grey values of FLAIR, T1, T1 with contrast and T2."""

    flair: float
    t1: float
    t1ce: float
    t2: float = 150.0


class BrainPhantom(Phantom):
    """Head with scalp, skull, grey and white matter, ventricles, eyes; lesions bright on FLAIR, some with a rim."""

    kind = "brain-mr"
    field_of_view, extent, middle = 240.0, 125.0, 18.0
    diameters = (14.0, 55.0)
    images: tuple[str, ...] = ("flair", "t1", "t1ce")

    def _prepare(self) -> None:
        generator = self._generator
        self._axes = np.array([72.0, 92.0, 88.0]) * generator.uniform(0.92, 1.06, 3)
        self._shape, self._folds, self._folds_too = (Waves(generator, scale) for scale in (90.0, 22.0, 16.0))
        self._texture, self._bias, self._heterogeneity = (Waves(generator, scale) for scale in (12.0, 260.0, 10.0))
        self._ventricle = generator.uniform(0.7, 1.35)
        self._noise = generator.uniform(4.0, 12.0)
        self._blur = generator.uniform(0.4, 0.8)
        vary = generator.uniform(0.9, 1.1, (6, 3))
        values = ((430, 520, 540), (35, 40, 45), (55, 80, 85), (205, 310, 325), (236, 235, 255), (0, 0, 0))
        self._fat, self._bone, self._csf, self._white, self._grey, self._air = (
            Tissue(*(np.array(row) * factor)) for row, factor in zip(values, vary, strict=True)
        )
        self._nuclei = Tissue(*((getattr(self._grey, name) + getattr(self._white, name)) / 2 for name in self.images))
        self._lesion_gain = {"flair": generator.uniform(110, 210), "t1": generator.uniform(-90, -30)}
        self._enhancement = generator.choice([0.0, 60.0, 180.0])

    def _room(self, point: NDArray[np.float64]) -> float:
        radius = float(np.linalg.norm(point / self._axes))
        room = (0.86 - radius) * float(self._axes[0])
        return min(room, abs(float(point[0]))) if point[2] > -25 else -1.0  # within one hemisphere

    def _plane(self, z: float, noise: np.random.Generator) -> PhantomPlane:
        y, x = self._y, self._x
        radius = self._radius(z)
        lesion, numbers = self._draw_lesions(z)
        inside = radius < 0.88
        numbers[~inside] = 0
        lesion = lesion * inside * (1 + 0.12 * self._heterogeneity.plane(z, y, x))
        regions = self._regions(z, radius)
        bias = 1 + 0.07 * self._bias.plane(z, y, x)
        images = {}
        for name in self.images:
            grey = np.select([mask for mask, _ in regions], [getattr(tissue, name) for _, tissue in regions], 0.0)
            grey = self._with_lesions(name, grey + inside * 6 * self._texture.plane(z, y, x), lesion, z, inside)
            images[name] = self._acquire(grey * bias, noise)
        return PhantomPlane(images, numbers, {}, self._parts(z, numbers > 0))

    def _with_lesions(self, name: str, grey: NDArray[Any], lesion: SliceArray, z: float, inside: Mask) -> NDArray[Any]:
        """The image with its lesions; `lesion` is their softened weight."""
        base = self._white.flair if name == "flair" else self._white.t1
        grey = grey * (1 - np.minimum(lesion, 1)) + np.minimum(lesion, 1) * base
        grey = grey + lesion * self._lesion_gain["flair" if name == "flair" else "t1"]
        return np.asarray(grey + (self._rim(z) * inside * self._enhancement if name == "t1ce" else 0.0))

    def _parts(self, z: float, lesion: Mask) -> dict[str, Mask]:
        """The parts of lesions that can be told apart."""
        return {}

    def _radius(self, z: float) -> SliceArray:
        """Ellipsoidal radius of the head, a little uneven; the face makes it longer in front below the brain."""
        front = np.where(self._y < 0, 1.0 - 0.10 * np.clip(-(z + 5) / 60, 0, 1), 1.0)
        radius = ellipsoid(0.0 if z < 0 else z, self._y * front, self._x, (0, 0, 0), self._axes)
        uneven = radius * (1 + 0.02 * self._shape.plane(z, self._y, self._x))
        return np.asarray(uneven + 0.04 * np.clip(-z / 60, 0, 1), np.float32)

    def _regions(self, z: float, radius: SliceArray) -> list[tuple[Mask, Tissue]]:
        """Masks in order of precedence with their tissue."""
        y, x = self._y, self._x
        folds = self._folds.plane(z, y, x)
        depth = 0.86 - radius
        sulcus = (np.abs(folds) < 0.16) & (depth < 0.20)
        fissure = (np.abs(x + 1.5 * self._shape.plane(z, y, x)) < 1.6) & ((np.abs(y) > 38) | (z > 45)) & (z > -10)
        cortex = (depth < 0.055) | ((np.abs(folds) < 0.5) & (depth < 0.24))
        deep = (ellipsoid(z, y, np.abs(x), (24, 4, 4), (11, 20, 16)) < 1) | (
            (np.abs(self._folds_too.plane(z, y, x)) < 0.35) & (z < -22)
        )
        eyes = ellipsoid(z, y, np.abs(x), (32, -78, -32), (12, 12, 12))
        marrow = (radius > 0.905) & (radius < 0.925)
        return [
            (radius > 1.0, self._air),
            ((eyes < 1) & (radius < 1.0), self._csf),
            ((eyes < 1.9) & (radius < 0.99) & (z < -15), self._fat),
            (radius > 0.935, self._fat),
            (marrow, Tissue(130, 200, 210)),
            (radius > 0.89, self._bone),
            ((depth < 0) | fissure | sulcus | self._ventricles(z), self._csf),
            (cortex, self._grey),
            (deep, self._nuclei),
            (radius <= 0.86, self._white),
        ]

    def _ventricles(self, z: float) -> Mask:
        y, x, size = self._y, self._x, self._ventricle
        bend = 13 + 0.004 * (y + 5) ** 2 * (y > -5)
        lateral = ellipsoid(z, y, np.abs(x), (0, 5, 20), (1, 45 * size**0.5, 13 * size))
        body = ((np.abs(x) - bend) / (6 * size)) ** 2 + ((y - 5) / 44) ** 2 + ((z - 20) / (13 * size)) ** 2 < 1
        third = ellipsoid(z, y, x, (0, 5, 2), (3 * size, 16, 12)) < 1
        fourth = ellipsoid(z, y, x, (0, 45, -32), (9 * size, 6, 10)) < 1
        return np.asarray(body & (lateral < 60) | third | fourth)

    def _rim(self, z: float) -> SliceArray:
        """Weight of the enhancing rim, 4 mm wide, some way below the surface of the larger lesions."""
        rim = np.zeros((len(self._y), len(self._y)), np.float32)
        for blob in self.lesions:
            if blob.radius > 9 and blob.reaches(z):
                depth = blob.depth(z, self._y, self._x) - 0.35 * blob.radius
                rim = np.maximum(rim, np.clip(1 - np.abs(depth) / 3, 0, 1))
        return rim

    def _acquire(self, grey: NDArray[Any], noise: np.random.Generator) -> NDArray[np.int16]:
        """Blur of the acquisition and Rician noise."""
        blurred = gaussian_filter(np.asarray(grey, np.float32), self._blur / self.spacing[1])
        real, imaginary = noise.standard_normal((2, *blurred.shape), np.float32) * np.float32(self._noise)
        return np.asarray(np.hypot(blurred + real, imaginary), np.int16)
