"""The abdomen CT phantom, portal-venous phase, in Hounsfield units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from pipelines.phantoms.shapes import Mask, Phantom, PhantomPlane, SliceArray, Waves, ellipsoid

AIR, LUNG, FAT = -1000.0, -850.0, -95.0


class AbdomenPhantom(Phantom):
    """Body with spine, ribs, lungs, liver with vessels, spleen, kidneys, stomach and bowel; hypodense liver lesions."""

    kind = "abdomen-ct"
    field_of_view, extent, middle = 400.0, 230.0, 0.0
    diameters = (10.0, 45.0)

    def _prepare(self) -> None:
        draw = self._generator
        self._body = np.array([165.0, 118.0]) * draw.uniform(0.9, 1.1, 2)
        self._fat_mm = draw.uniform(10, 26)
        self._shape, self._bowel, self._vessel, self._vessel_too, self._texture, self._lumps = (
            Waves(draw, scale) for scale in (130.0, 34.0, 38.0, 46.0, 9.0, 60.0)
        )
        self._liver_hu, self._spleen_hu, self._lesion_hu = draw.uniform((88, 95, -75), (135, 140, -35))
        self._noise, self._blur = draw.uniform(7, 22), draw.uniform(0.5, 0.9)
        self._right = draw.uniform((-82, -18, -8, 66, 78, 82), (-70, -2, 8, 82, 92, 100))
        self._left = draw.uniform((-25, -55, 22, 75, 32, 32), (5, -45, 36, 100, 44, 46))
        self._table = draw.uniform(12, 30)

    def _room(self, point: NDArray[np.float64]) -> float:
        x, y, z = (np.full((1, 1), value, np.float32) for value in point)
        return float(-self._liver(float(z[0, 0]), y, x)[0, 0] - 6)

    def _plane(self, z: float, noise: np.random.Generator) -> PhantomPlane:
        # anatomy at 1.5 mm is fine enough; surface, lesions, blur and noise are those of the full matrix
        fold = 2 if self.options.matrix >= 384 and self.options.matrix % 2 == 0 else 1
        fine, self._y, self._x = (self._y, self._x), self._y[::fold], self._x[:, ::fold]
        liver, tissue, hu = self._liver(z, self._y, self._x), self._liver_tissue(z), self._background(z)
        self._y, self._x = fine
        liver, tissue, hu = (np.repeat(np.repeat(field, fold, 0), fold, 1) for field in (liver, tissue, hu))
        if fold > 1:
            liver = uniform_filter(liver, 3)  # the surface, stepped by the fold, smooth again
        mask = liver < 0
        weight, numbers = self._draw_lesions(z)
        numbers[~mask] = 0
        share = np.minimum(weight, 1)
        inside = tissue * (1 - share) + share * self._liver_hu + weight * self._lesion_hu
        image = self._acquire(np.where(mask, inside, hu), noise)
        return PhantomPlane({"ct": image}, numbers, {"liver": mask})

    def _acquire(self, hu: SliceArray, noise: np.random.Generator) -> NDArray[np.int16]:
        """Blur of the reconstruction and grainy noise."""
        blurred = gaussian_filter(hu.astype(np.float32), self._blur / self.spacing[1], truncate=3.0)
        grain = uniform_filter(noise.standard_normal(hu.shape, np.float32), 2) * np.float32(2.0 * self._noise)
        return np.asarray(np.clip(np.rint(blurred + grain), -1024, 3071), np.int16)

    def _body_depth(self, z: float) -> SliceArray:
        """Depth below the skin, mm."""
        radius = np.sqrt((self._x / self._body[0]) ** 2 + (self._y / self._body[1]) ** 2)
        uneven = 1 + 0.02 * self._shape.plane(z, self._y, self._x)
        return np.asarray((uneven - radius) * self._body[1], np.float32)

    def _liver(self, z: float, y: SliceArray, x: SliceArray) -> SliceArray:
        """About the signed distance to the liver's surface, mm, negative inside."""
        right = (ellipsoid(z, y, x, self._right[:3], self._right[3:]) - 1) * 70
        left = (ellipsoid(z, y, x, self._left[:3], self._left[3:]) - 1) * 38
        surface = np.minimum(right, left) + 5 * self._lumps.plane(z, y, x)
        porta = 16 - np.sqrt((x + 30) ** 2 + (y - 12) ** 2 + (0.6 * (z + 25)) ** 2)
        wall = np.sqrt((x / (self._body[0] - self._fat_mm - 14)) ** 2 + (y / (self._body[1] - self._fat_mm - 14)) ** 2)
        spine = 34 - np.sqrt(x**2 + (y - 62) ** 2)
        parts = [surface, porta, (wall - 1) * 100, spine, self._hollow(z, y, x)]
        return np.asarray(np.maximum.reduce(parts), np.float32)

    def _hollow(self, z: float, y: SliceArray, x: SliceArray) -> SliceArray:
        """The visceral surface: below, only the right lobe's lower part is left."""
        return np.asarray(-z - 25 + 0.9 * (x + 62) + 0.004 * y**2 + 9 * self._lumps.plane(z, y, x), np.float32)

    def _liver_tissue(self, z: float) -> SliceArray:
        y, x = self._y, self._x
        first, second = self._vessel.plane(z, y, x), self._vessel_too.plane(z, y, x)
        vessels = np.clip(1.6 - np.sqrt(first**2 + second**2) * 9, 0, 1)  # where two fields vanish: winding tubes
        return np.asarray(self._liver_hu + 4 * self._texture.plane(z, y, x) + 38 * vessels, np.float32)

    def _background(self, z: float) -> SliceArray:
        """Everything but the liver: later entries lie on top of earlier ones."""
        depth = self._body_depth(z)
        hu = np.where(depth > 0, np.float32(FAT), np.float32(AIR))
        table = np.abs(self._y - self._body[1] - self._table + 0.0011 * self._x**2) < 2.0
        hu[table & (depth < -3)] = 180
        hu[(depth > 0) & (depth < 2)] = 20
        wall = (depth > self._fat_mm) & (depth < self._fat_mm + 11)
        hu[wall] = 58
        for mask, value in self._organs(z, depth):
            hu[mask] = value if np.ndim(value) == 0 else np.broadcast_to(value, hu.shape)[mask]
        return hu

    def _organs(self, z: float, depth: SliceArray) -> list[tuple[Mask, float | SliceArray]]:
        y, x = self._y, self._x
        inside = depth > self._fat_mm + 11
        bowel = self._bowel.plane(z, y, x)
        loops = inside & (y < 45) & (z < 5) & (bowel > 0.25)
        muscle = np.minimum(
            ellipsoid(0, y, np.abs(x), (42, 88, 0), (30, 22, 1)), ellipsoid(0, y, np.abs(x), (40, 62, 0), (17, 20, 1))
        )
        return [
            (loops, 42 + 14 * self._texture.plane(z, y, x)),
            (loops & (bowel > 1.15) & (y < -10), -700.0),
            ((muscle < 1) & (depth > 8), 60.0),
            *self._chest(z, inside),
            *self._upper_organs(z, inside),
            *self._kidneys(z),
            *self._vessels(),
            *self._bones(z, depth),
        ]

    def _chest(self, z: float, inside: Mask) -> list[tuple[Mask, float | SliceArray]]:
        """Lungs above the two domes of the diaphragm, reaching lower at the back; the heart between them."""
        y, x = self._y, self._x
        dome = 98 - ((np.abs(x) - 72) / 11) ** 2 - ((y + 8) / 10) ** 2
        vessels = 300 * np.clip(self._vessel.plane(z, y, x) - 1.3, 0, 2)
        heart = ellipsoid(min(z, 150.0), y, x, (20, -32, 128), (58, 52, 42)) < 1
        mediastinum = (np.abs(x) < 24) & (y > -30)
        return [(inside & (z > dome) & ~mediastinum, LUNG + vessels), (inside & heart, 130.0)]

    def _upper_organs(self, z: float, inside: Mask) -> list[tuple[Mask, float | SliceArray]]:
        y, x = self._y, self._x
        lumps = 0.06 * self._lumps.plane(z, y, x)
        stomach = ellipsoid(z, y, x, (62, -38, 28), (52, 36, 44)) + lumps
        spleen = ellipsoid(z, y, x, (104, 40, 18), (30, 50, 52)) + lumps
        pancreas = ellipsoid(z, y + 0.12 * np.abs(x), x, (10, 6, -18), (66, 13, 14)) + lumps
        contents = 28 + 12 * self._texture.plane(z, y, x)
        return [
            (inside & (pancreas < 1), 85.0),
            (inside & (stomach < 1), 70.0),
            (inside & (stomach < 0.9), contents),
            (inside & (stomach < 0.88) & (y < -56), AIR),
            (inside & (spleen < 1), self._spleen_hu + 3 * self._texture.plane(z, y, x)),
        ]

    def _kidneys(self, z: float) -> list[tuple[Mask, float | SliceArray]]:
        y, x = self._y, self._x
        kidneys = np.minimum(
            ellipsoid(z, y, x, (64, 54, -48), (29, 27, 55)), ellipsoid(z, y, x, (-62, 56, -62), (29, 27, 55))
        )
        sinus = np.minimum(
            ellipsoid(z, y, x, (52, 50, -48), (15, 10, 26)), ellipsoid(z, y, x, (-50, 52, -62), (15, 10, 26))
        )
        return [(kidneys < 1, 185.0), (kidneys < 0.72, 150.0), (sinus < 1, FAT)]

    def _vessels(self) -> list[tuple[Mask, float | SliceArray]]:
        aorta = np.hypot(self._x - 12, self._y - 30) < 11
        cava = np.hypot((self._x + 22) / 1.25, self._y - 26) < 10
        return [(aorta, 165.0), (cava, 145.0)]

    def _bones(self, z: float, depth: SliceArray) -> list[tuple[Mask, float | SliceArray]]:
        """Vertebrae with discs every 32 mm, arches, and ribs slanting down in the wall."""
        y, x = self._y, self._x
        body = np.hypot(x / 1.2, y - 62)
        disc = (z % 32) < 6
        arch = (np.abs(np.hypot(x, y - 86) - 11) < 3.5) & (y > 80)
        process = ((np.abs(x) < 3.5) & (y > 95) & (y < 112)) | ((np.abs(y - 88) < 4) & (np.abs(x) < 34) & (not disc))
        angle = np.arctan2(np.abs(x), -y)  # 0 in front, pi at the back
        cage = np.abs(depth - self._fat_mm - 7) < 5
        ribs = cage & (((z + 45 * (np.pi - angle)) % 26) < 9) & (z + 45 * (np.pi - angle) > 10) & (angle > 0.5)
        return [
            (body < 20, 90.0 if disc else 190.0),
            ((np.abs(body - 19) < 1.5) & (not disc), 420.0),
            (np.hypot(x, y - 86) < 9, 25.0),
            (arch | (process & (depth > 4)), 380.0),
            (ribs, 330.0),
            (ribs & (np.abs(depth - self._fat_mm - 7) < 2.5), 190.0),
        ]
