"""From the masks of liver and tumours to what system E reports, and whether the lesions were found one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.measure import split_components

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Burden:
    """What a liver carries.

    Attributes:
        liver_ml: Volume of the liver with its tumours.
        tumours: Number of connected tumours.
        tumour_ml: Volume of all of them.
    """

    liver_ml: float
    tumours: int
    tumour_ml: float

    @property
    def share(self) -> float:
        """Tumour burden: share of the liver that is tumour; 0 without a liver."""
        return self.tumour_ml / self.liver_ml if self.liver_ml else 0.0


@dataclass(frozen=True)
class Detection:
    """Lesions of one study: how many there are, how many were found, and how many were made up."""

    wanted: int
    found: int
    false: int


def burden(liver: Mask, tumour: Mask, voxel_ml: float, *, min_volume_ml: float = 0.0) -> Burden:
    """Masks (slices, rows, columns) to volumes and counts; a tumour counts as liver whether `liver` holds it or not."""
    numbers = split_components(tumour, voxel_ml=voxel_ml, min_volume_ml=min_volume_ml).array
    kept = int((numbers > 0).sum())
    return Burden(int((liver | tumour).sum()) * voxel_ml, int(numbers.max(initial=0)), kept * voxel_ml)


def detection(
    mask: Mask, truth: Mask, voxel_ml: float, *, over_mm: float = 10.0, least: float = 0.1, min_volume_ml: float = 0.0
) -> Detection:
    """Counts lesions of a diameter over `over_mm`; one is found if at least the share `least` of its voxels is.

    The diameter is that of a sphere of the same volume. A component of the mask is false if it touches no lesion
    at all, however small.

    Args:
        mask: What was found, (slices, rows, columns).
        truth: Same shape.
        voxel_ml: Volume of a voxel.
        over_mm: Smaller lesions are neither wanted nor false.
        least: See above.
        min_volume_ml: Smaller components of the mask are dropped, as serving does.
    """
    lesions = found_lesions(mask, truth, voxel_ml, over_mm=over_mm, least=least, min_volume_ml=min_volume_ml)
    components = split_components(mask, voxel_ml=voxel_ml, min_volume_ml=min_volume_ml).array
    touching = np.unique(components[truth & (components > 0)])
    false = int(components.max(initial=0)) - len(touching)
    return Detection(len(lesions), sum(found for _, found in lesions), false)


def found_lesions(
    mask: Mask, truth: Mask, voxel_ml: float, *, over_mm: float = 10.0, least: float = 0.1, min_volume_ml: float = 0.0
) -> list[tuple[float, bool]]:
    """(diameter in mm, whether it was found) of each lesion; arguments as for `detection`."""
    smallest_ml = np.pi / 6 * (over_mm / 10) ** 3
    lesions = split_components(truth, voxel_ml=voxel_ml, min_volume_ml=smallest_ml).array
    components = split_components(mask, voxel_ml=voxel_ml, min_volume_ml=min_volume_ml).array
    size = np.bincount(lesions.ravel())[1:]
    hit = np.bincount(lesions[components > 0], minlength=len(size) + 1)[1:]
    diameters = 10 * np.cbrt(size * voxel_ml * 6 / np.pi)
    return [(float(mm), bool(found)) for mm, found in zip(diameters, hit >= least * size, strict=True)]
