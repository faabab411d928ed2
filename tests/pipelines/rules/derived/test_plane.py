from __future__ import annotations

import math

import pytest

from pipelines.rules.derived.plane import AnatomicalPlane, plane
from tests.pipelines.rules.studies import AXIAL, CORONAL, SAGITTAL


def turned(degrees: float) -> list[float]:
    """An axial slice tilted around the left-right axis, as gantries and planning do."""
    angle = math.radians(degrees)
    return [1, 0, 0, 0, math.cos(angle), math.sin(angle)]


def plane_of(cosines: object, *others: object) -> AnatomicalPlane | None:
    instances = [{"ImageOrientationPatient": other} for other in others]
    return plane({"ImageOrientationPatient": cosines}, instances).value


@pytest.mark.parametrize(("cosines", "expected"), [(AXIAL, "axial"), (CORONAL, "coronal"), (SAGITTAL, "sagittal")])
def test_plane_of_straight_slices(cosines: list[int], expected: str) -> None:
    assert plane_of(cosines) == expected
    assert plane_of([-value for value in cosines]) == expected  # turned upside down it is the same plane
    assert plane_of([str(value) for value in cosines]) == expected
    assert plane_of("\\".join(str(value) for value in cosines)) == expected


@pytest.mark.parametrize("degrees", [0, 10, 30, 44])
def test_tilted_slices_have_the_nearest_plane(degrees: float) -> None:
    assert plane_of(turned(degrees)) == "axial"
    assert plane_of(turned(90 - degrees)) == "coronal"


def test_slices_far_from_every_plane_are_oblique() -> None:
    third = 1 / math.sqrt(3)  # the normal points at a corner of the cube
    row = [1 / math.sqrt(2), -1 / math.sqrt(2), 0]
    column = [third / math.sqrt(2), third / math.sqrt(2), -2 * third / math.sqrt(2)]
    assert plane_of([*row, *column]) == "oblique"


def test_images_in_different_planes_are_mixed() -> None:
    assert plane_of(AXIAL, AXIAL, CORONAL) == "mixed"
    assert plane_of(AXIAL, AXIAL, turned(20)) == "axial"


@pytest.mark.parametrize("junk", [None, "", [0] * 6, [1, 0, 0], ["a"] * 6, [1, 0, 0, 1, 0, 0], [float("nan")] * 6])
def test_unusable_orientation_has_no_plane(junk: object) -> None:
    assert plane_of(junk) is None


def test_letters_tell_the_plane_of_old_images() -> None:
    assert plane({"PatientOrientation": ["L", "P"]}).value == "axial"
    assert plane({"PatientOrientation": ["L", "F"]}).value == "coronal"
    assert plane({"PatientOrientation": "PR\\FP"}).value == "sagittal"
    assert plane({"PatientOrientation": ["L"]}).value is None


def test_description_does_not_decide_the_plane() -> None:
    assert plane({"SeriesDescription": "AX T1"}).value is None
    assert plane({"SeriesDescription": "AX T1", "ImageOrientationPatient": CORONAL}).value == "coronal"
