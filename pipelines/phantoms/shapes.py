"""What phantoms are built from: smooth random fields, ellipsoids, lesions, and the slice by slice rendering.

Coordinates are the patient's (DICOM LPS), in mm, with the origin in the middle of the head or of the upper abdomen:
x to the left, y to the back, z upwards. Arrays are (slices, rows, columns) in standard axial orientation, slices
upwards. The same options and seed always give the same phantom, and every slice can be computed alone, so a series of
any length costs no memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

SliceArray = NDArray[np.float32]
Mask = NDArray[np.bool_]
Triple = Sequence[float] | NDArray[np.float64]


class Waves:
    """A smooth random function of space, a sum of plane waves: about -2..2, varying over `scale` mm.

    Waves factor into x, y and z, so a whole plane is one small matrix product.
    """

    def __init__(self, generator: np.random.Generator, scale: float, terms: int = 14) -> None:
        direction = generator.normal(size=(3, terms))
        direction /= np.linalg.norm(direction, axis=0)
        self._k = direction * 2 * np.pi / (scale * generator.uniform(0.8, 2.0, terms))
        self._phase = generator.uniform(0, 2 * np.pi, terms)
        self._amplitude = np.sqrt(2 / terms)

    def plane(self, z: float, y: SliceArray, x: SliceArray) -> SliceArray:
        """Values on the plane of rows `y` (rows, 1) and columns `x` (1, columns) at height `z`."""
        along_y = y * self._k[1] + (z * self._k[2] + self._phase)
        along_x = x.T * self._k[0]
        left = np.concatenate([np.cos(along_y), np.sin(along_y)], axis=1).astype(np.float32)
        right = np.concatenate([np.cos(along_x), -np.sin(along_x)], axis=1).astype(np.float32)
        return np.asarray(left @ (right.T * np.float32(self._amplitude)), np.float32)  # cos(a + b), summed


@dataclass(frozen=True)
class Blob:
    """A lesion: a sphere whose surface is pushed in and out by up to about a quarter of the radius."""

    centre: tuple[float, float, float]
    radius: float
    waves: Waves
    contrast: float

    def reaches(self, z: float) -> bool:
        """Whether the lesion may be seen at height `z`."""
        return abs(z - self.centre[2]) < 1.6 * self.radius + 2

    def depth(self, z: float, y: SliceArray, x: SliceArray) -> SliceArray:
        """Depth below the surface in mm, positive inside."""
        cx, cy, cz = self.centre
        distance = np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2)
        return np.asarray(self.radius * (1 + 0.14 * self.waves.plane(z, y, x)) - distance, np.float32)


@dataclass(frozen=True, eq=False)
class PhantomPlane:
    """One slice, all arrays (rows, columns).

    Attributes:
        images: Grey values by image name (`flair`, `t1`, `t1ce`, or `ct` in HU), int16.
        lesions: Number of the lesion at each pixel, from 1; 0 where there is none; uint8.
        organs: Masks of organs by name; an organ includes its lesions.
        parts: Masks of the parts of lesions by name; they exclude each other.
    """

    images: dict[str, NDArray[np.int16]]
    lesions: NDArray[np.uint8]
    organs: dict[str, Mask]
    parts: dict[str, Mask] = field(default_factory=dict)

    @property
    def masks(self) -> dict[str, Mask]:
        """Truth by name: `lesion`, the organs, and the parts of lesions."""
        return {"lesion": self.lesions > 0, **self.organs, **self.parts}


@dataclass(frozen=True, kw_only=True)
class PhantomOptions:
    """What a phantom is made of.

    Attributes:
        slices: Number of slices.
        matrix: Rows and columns.
        slice_mm: Distance of slices; by default what covers the organ, between 0.5 and 6 mm.
        pixel_mm: Pixel spacing; by default the usual field of view over the matrix.
        lesions: Number of lesions.
        lesion_diameters_mm: Diameters, repeated as needed; drawn at random where empty.
        seed: Anatomy, lesion places and noise follow from it.
        glioma: Brain only: four sequences instead of three, and lesions of edema, enhancing and necrotic tumour.
    """

    slices: int = 24
    matrix: int = 256
    slice_mm: float | None = None
    pixel_mm: float | None = None
    lesions: int = 1
    lesion_diameters_mm: tuple[float, ...] = ()
    seed: int = 0
    glioma: bool = False


class Phantom(ABC):
    """A phantom of one kind; iterate over it for its slices, bottom to top."""

    kind: ClassVar[str]
    field_of_view: ClassVar[float]
    extent: ClassVar[float]
    middle: ClassVar[float]
    diameters: ClassVar[tuple[float, float]]
    images: tuple[str, ...] = ()

    def __init__(self, options: PhantomOptions) -> None:
        self.options = options
        self._generator = np.random.default_rng([options.seed, len(self.kind)])
        slice_mm = options.slice_mm or min(6.0, max(0.5, self.extent / options.slices))
        pixel_mm = options.pixel_mm or self.field_of_view / options.matrix
        self.spacing = (slice_mm, pixel_mm, pixel_mm)
        half = (options.matrix - 1) / 2 * pixel_mm
        self.origin = (-half, -half, self.middle - (options.slices - 1) / 2 * slice_mm)
        self._y = (np.arange(options.matrix, dtype=np.float32) * pixel_mm - half)[:, None]
        self._x = self._y.T.copy()
        self._prepare()
        self.lesions = self._lesions()

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(np.prod(self.spacing)) / 1000

    def __len__(self) -> int:
        return self.options.slices

    def __getitem__(self, index: int) -> PhantomPlane:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._plane(self.origin[2] + index * self.spacing[0], np.random.default_rng([self.options.seed, index]))

    def render(self) -> tuple[dict[str, NDArray[np.int16]], dict[str, Mask]]:
        """All slices at once: images and masks by name, each (slices, rows, columns)."""
        planes = [self[index] for index in range(len(self))]
        images = {name: np.stack([plane.images[name] for plane in planes]) for name in planes[0].images}
        return images, {name: np.stack([plane.masks[name] for plane in planes]) for name in planes[0].masks}

    @abstractmethod
    def _prepare(self) -> None:
        """Draws the anatomy."""

    @abstractmethod
    def _room(self, point: NDArray[np.float64]) -> float:
        """Radius in mm that a lesion at `point` (x, y, z) may have."""

    @abstractmethod
    def _plane(self, z: float, noise: np.random.Generator) -> PhantomPlane:
        """Computes the slice at height `z`."""

    def _lesions(self) -> tuple[Blob, ...]:
        options, generator, found = self.options, self._generator, list[Blob]()
        for number in range(options.lesions):
            diameter = float(generator.uniform(*self.diameters))
            if options.lesion_diameters_mm:
                diameter = options.lesion_diameters_mm[number % len(options.lesion_diameters_mm)]
            centre = self._place(diameter / 2, found)
            waves = Waves(generator, max(diameter * 0.8, 6.0))
            found.append(Blob(centre, diameter / 2, waves, float(generator.uniform(0.75, 1.25))))
        return tuple(found)

    def _place(self, radius: float, others: Sequence[Blob]) -> tuple[float, float, float]:
        """The first of many random points with room enough, else the roomiest one; lesions keep clear of each other."""
        best, best_room = (0.0, 0.0, self.middle), -np.inf
        for point in self._generator.uniform(-1, 1, size=(600, 3)) * (0.4 * self.field_of_view, 80, self.extent / 2):
            point[2] += self.middle
            apart = [float(np.linalg.norm(point - other.centre)) - 1.3 * other.radius - 3 for other in others]
            room = min([self._room(point), *apart])
            if room > best_room:
                best, best_room = (float(point[0]), float(point[1]), float(point[2])), room
            if room > 1.15 * radius:
                break
        return best

    def _draw_lesions(self, z: float) -> tuple[SliceArray, NDArray[np.uint8]]:
        """Softened lesion weight (contrast included) and the number of the lesion at each pixel."""
        weight = np.zeros((self.options.matrix, self.options.matrix), np.float32)
        numbers = np.zeros(weight.shape, np.uint8)
        for number, blob in enumerate(self.lesions, start=1):
            if blob.reaches(z):
                depth = blob.depth(z, self._y, self._x)
                numbers[depth > 0] = number
                weight = np.maximum(weight, blob.contrast * np.clip(depth / 2 + 0.5, 0, 1))
        return weight, numbers


def ellipsoid(z: float, y: SliceArray, x: SliceArray, centre: Triple, axes: Triple) -> SliceArray:
    """Radius in units of the half axes, 1 on the surface: centre and axes are (x, y, z)."""
    squares = ((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2 + ((z - centre[2]) / axes[2]) ** 2
    return np.asarray(np.sqrt(squares), np.float32)
