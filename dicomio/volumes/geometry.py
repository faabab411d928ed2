"""Positions and orientations of images in the patient (PS3.3 C.7.6.2.1.1); lengths in mm, coordinates in LPS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one image (or frame) lies in the patient.

    Attributes:
        name: How a person finds the image: its instance number, or its UID.
        position: Centre of its first pixel, LPS in mm.
        orientation: Direction cosines: towards increasing column index (x, y, z), then towards increasing row index.
        spacing: Distance of rows, distance of columns, in mm (the order of PixelSpacing).
        shape: Rows, columns.
        thickness: Distance to its neighbour as the header claims it (used only for a single slice), None if unknown.
        tilt_deg: GantryDetectorTilt, 0 if not said.
        image_type: Values of ImageType.
        varying: Attributes that may tell images at one position apart, as text.
    """

    name: str
    sop_instance_uid: str
    frame_of_reference_uid: str
    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    thickness: float | None = None
    tilt_deg: float = 0.0
    image_type: tuple[str, ...] = ()
    varying: Mapping[str, str] = field(default_factory=dict)


class Stack:
    """Images in order along their common normal; properties are computed when first used.

    Values derived from the orientation are meaningful only if all images have nearly the same one.
    """

    def __init__(self, places: Sequence[Placement]) -> None:
        self.places = tuple(places)
        self.positions = np.array([place.position for place in places], dtype=np.float64)
        self.orientations = np.array([place.orientation for place in places], dtype=np.float64)

    def __len__(self) -> int:
        return len(self.places)

    @cached_property
    def directions(self) -> np.ndarray:
        """(3, 3): unit vectors towards increasing slice, row and column index; a right angle between any two.

        The mean of all images, made orthogonal: the decimals of the header are rounded.
        """
        mean = self.orientations.mean(axis=0)
        columns_grow = mean[:3] / np.linalg.norm(mean[:3])
        rows_grow = mean[3:] - (mean[3:] @ columns_grow) * columns_grow
        rows_grow /= np.linalg.norm(rows_grow)
        return np.stack([np.cross(columns_grow, rows_grow), rows_grow, columns_grow])

    @cached_property
    def order(self) -> np.ndarray:
        """(n,) indices of the images from the lowest to the highest along the normal."""
        order: np.ndarray = np.argsort(self.positions @ self.directions[0], kind="stable")
        return order

    @cached_property
    def distances(self) -> np.ndarray:
        """(n,) distance of each image along the normal, in mm, in `order`."""
        distances: np.ndarray = (self.positions @ self.directions[0])[self.order]
        return distances

    @cached_property
    def steps(self) -> np.ndarray:
        """(n - 1,) distance from each image to the next, in mm, in `order`."""
        return np.diff(self.distances)

    @cached_property
    def drift(self) -> np.ndarray:
        """(2,) shift along rows' and columns' growth per mm along the normal, as the best line through all images."""
        lateral, distances = self._lateral, self.distances - self.distances.mean()
        spread = float(distances @ distances)
        drift: np.ndarray = (distances @ lateral) / (spread or 1.0)
        return drift

    @cached_property
    def shifts(self) -> np.ndarray:
        """(n,) distance of each image from that line, in mm, in `order`."""
        distances = self.distances - self.distances.mean()
        shifts: np.ndarray = np.linalg.norm(self._lateral - np.outer(distances, self.drift), axis=1)
        return shifts

    @cached_property
    def _lateral(self) -> np.ndarray:
        lateral: np.ndarray = (self.positions @ self.directions[1:].T)[self.order]
        lateral -= lateral.mean(axis=0)
        return lateral

    @property
    def in_order(self) -> tuple[Placement, ...]:
        """The images in `order`."""
        return tuple(self.places[index] for index in self.order)

    def fitted_distances(self) -> np.ndarray:
        """(n,) distances along the normal, in mm, of the evenly spaced stack that fits best."""
        index = np.arange(len(self)) - (len(self) - 1) / 2
        step = float(index @ self.distances) / float(index @ index)
        fitted: np.ndarray = self.distances.mean() + index * step
        return fitted

    def affine(self) -> np.ndarray:
        """(4, 4) float64: array index (slice, row, column, 1) -> LPS mm, for the evenly spaced stack that fits best.

        The row index goes along the column direction in steps of PixelSpacing[0], the column index along the row
        direction in steps of PixelSpacing[1].
        """
        row_spacing, column_spacing = np.mean([place.spacing for place in self.places], axis=0)
        affine = np.eye(4)
        affine[:3, 0] = self._slice_step()
        affine[:3, 1] = self.directions[1] * row_spacing
        affine[:3, 2] = self.directions[2] * column_spacing
        affine[:3, 3] = self.positions.mean(axis=0) - affine[:3, 0] * (len(self) - 1) / 2
        return affine

    def _slice_step(self) -> np.ndarray:
        """(3,) vector from one slice to the next."""
        index = np.arange(len(self)) - (len(self) - 1) / 2
        step: np.ndarray = (index @ self.positions[self.order]) / (float(index @ index) or 1.0)
        return step if len(self) > 1 else self.directions[0] * (self.places[0].thickness or 1.0)
