"""The plane that a series was cut in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

from pipelines.rules.derived.value import Derived
from pipelines.rules.tag_values import Tags, codes, numbers


class AnatomicalPlane(StrEnum):
    """The values of `plane`."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    OBLIQUE = "oblique"
    MIXED = "mixed"


_NORMAL_TO = (
    AnatomicalPlane.SAGITTAL,
    AnatomicalPlane.CORONAL,
    AnatomicalPlane.AXIAL,
)  # the plane whose normal is x (left), y (posterior), z (head)
_NEAREST = math.cos(math.radians(45))
"""Within 45° of one axis, people would call it by no other plane; beyond all three it is oblique."""


def plane(tags: Tags, instance_tags: Sequence[Tags] = ()) -> Derived[AnatomicalPlane]:
    """Plane of the slices, from the direction cosines (PS3.3 C.7.6.2.1.1); the nearest one when they are oblique.

    Descriptions are not asked: an "AX" that was planned coronal is a coronal. MIXED when the images disagree.
    """
    found = {_plane_of(cosines) for cosines in _orientations(tags, instance_tags)} - {None}
    if len(found) > 1:
        return Derived(
            AnatomicalPlane.MIXED, "images lie in different planes: " + ", ".join(sorted(str(item) for item in found))
        )
    for only in found:
        return Derived(only, "from ImageOrientationPatient")
    lettered = _plane_of_letters(codes(tags, "PatientOrientation"))
    return Derived(lettered, "from PatientOrientation" if lettered else "no usable ImageOrientationPatient")


def _orientations(tags: Tags, instance_tags: Sequence[Tags]) -> set[tuple[float, ...]]:
    keyword = "ImageOrientationPatient"
    found = {numbers(instance, keyword) for instance in instance_tags}
    return {cosines for cosines in (found | {numbers(tags, keyword)}) if len(cosines) == 6}


def _plane_of(cosines: tuple[float, ...]) -> AnatomicalPlane | None:
    row, column = cosines[:3], cosines[3:]
    normal = (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )
    length = math.hypot(*normal)
    if not 0.5 < length < 1.5:  # not two perpendicular unit vectors: zeros, or nonsense
        return None
    sizes = [abs(part) / length for part in normal]
    largest = max(sizes)
    return _NORMAL_TO[sizes.index(largest)] if largest >= _NEAREST else AnatomicalPlane.OBLIQUE


def _plane_of_letters(letters: tuple[str, ...]) -> AnatomicalPlane | None:
    """PatientOrientation names the direction of rows and columns by letters, main direction first (C.7.6.1.1.1)."""
    axes = {"L": 0, "R": 0, "A": 1, "P": 1, "H": 2, "F": 2}
    if len(letters) != 2:
        return None
    row, column = axes.get(letters[0][:1]), axes.get(letters[1][:1])
    if row is None or column is None or row == column:
        return None
    return _NORMAL_TO[3 - row - column]
