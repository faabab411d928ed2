from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation calls it so
from hypothesis import given
from hypothesis import strategies as st

from dicomio.volumes.grid import from_sitk, reorient, resample_onto, to_sitk
from dicomio.volumes.volume import SourceImage, Volume

RNG = np.random.default_rng(7)
AXES = {"axial": 2, "coronal": 1, "sagittal": 0}  # LPS axis that the slices of the plane are stacked along


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    (sa, sb, sc), (ca, cb, cc) = np.sin(angles), np.cos(angles)
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    turn: np.ndarray = about_z @ about_y @ about_x
    return turn


def volume(turn: np.ndarray | None = None, shape: tuple[int, int, int] = (4, 5, 6)) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn)[:, ::-1] * (3.0, 0.8, 0.7)
    affine[:3, 3] = (-11, 22, 33)
    sources = tuple(SourceImage("1", f"1.{number}", Path(f"{number}.dcm"), None) for number in range(shape[0]))
    return Volume(RNG.integers(-1000, 1000, shape).astype(np.int16), affine, "1.2", "CT", "1.2.3", sources)


turns = st.tuples(*[st.floats(-3.1, 3.1)] * 3).map(rotation)
CORNERS = list(product((0, 3), (0, 4), (0, 5)))


@given(turn=turns)
def test_simpleitk_places_every_voxel_where_the_affine_does(turn: np.ndarray) -> None:
    source = volume(turn)
    image = to_sitk(source)
    for index in CORNERS:
        point = source.to_patient(np.array(index))
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index[::-1]), point, atol=1e-9)
        assert image.GetPixel(*index[::-1]) == source.array[index]


@given(turn=turns)
def test_the_way_to_simpleitk_and_back_changes_nothing(turn: np.ndarray) -> None:
    source = volume(turn)
    back = from_sitk(to_sitk(source), source)
    np.testing.assert_array_equal(back.array, source.array)
    np.testing.assert_allclose(back.affine, source.affine, atol=1e-9)
    assert (back.sources, back.source_axis) == (source.sources, 0)


def test_an_image_on_another_grid_has_no_source_per_slice() -> None:
    source = volume()
    back = from_sitk(sitk.Shrink(to_sitk(source), [1, 1, 2]), source)
    assert back.array.shape == (2, 5, 6)
    assert back.source_axis is None
    assert back.sources == source.sources


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@given(turn=turns)
def test_reorienting_moves_no_voxel_and_is_undone_exactly(plane: str, turn: np.ndarray) -> None:
    source = volume(turn)
    turned, turning = reorient(source, plane)  # type: ignore[arg-type]
    for index in CORNERS:
        there = np.rint(np.linalg.solve(turned.affine, source.affine @ [*index, 1]))[:3].astype(int)
        assert turned.array[tuple(there)] == source.array[index]
        np.testing.assert_allclose(turned.to_patient(there), source.to_patient(np.array(index)), atol=1e-9)
    np.testing.assert_array_equal(turning.inverse(turned.array), source.array)
    mask = turned.array > 0
    np.testing.assert_array_equal(turning.inverse(mask), source.array > 0)
    np.testing.assert_array_equal(turning.apply(turning.inverse(mask)), mask)
    assert turned.voxel_ml == pytest.approx(source.voxel_ml)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@given(turn=turns)
def test_reorienting_ends_in_the_plane_and_stays_right_handed(plane: str, turn: np.ndarray) -> None:
    turned, _ = reorient(volume(turn), plane)  # type: ignore[arg-type]
    directions = turned.affine[:3, :3] / turned.spacing
    again, turning = reorient(turned, plane)  # type: ignore[arg-type]
    assert (turning.axes, turning.flips) == ((0, 1, 2), (False, False, False))
    assert again.array.shape == turned.array.shape
    own = [abs(directions[AXES[plane], axis]) for axis in range(3)]
    assert own[0] >= 0.5  # the exchange that is best for all three axes together may be second best for one


@pytest.mark.parametrize(
    ("plane", "slices", "rows", "columns"),
    [
        ("axial", (0, 0, 1), (0, 1, 0), (1, 0, 0)),
        ("coronal", (0, 1, 0), (0, 0, -1), (1, 0, 0)),
        ("sagittal", (-1, 0, 0), (0, 0, -1), (0, 1, 0)),
    ],
)
def test_planes_look_as_radiologists_expect(
    plane: str, slices: tuple[int, ...], rows: tuple[int, ...], columns: tuple[int, ...]
) -> None:
    turned, _ = reorient(volume(rotation((0.2, -0.1, 0.15))), plane)  # type: ignore[arg-type]
    for axis, direction in enumerate((slices, rows, columns)):
        assert np.rint(turned.affine[:3, axis] / turned.spacing[axis]).tolist() == list(direction)


def test_sources_stay_tied_to_the_slices_that_they_made() -> None:
    source = volume()
    same, _ = reorient(source, "axial")
    assert (same.sources, same.source_axis) == (source.sources, 0)

    upside_down = replace(source, affine=source.affine @ np.diag([-1, -1, 1, 1]))
    turned, _ = reorient(upside_down, "axial")
    assert (turned.sources, turned.source_axis) == (source.sources[::-1], 0)
    np.testing.assert_array_equal(turned.array[0, ::-1], source.array[-1])

    sagittal, _ = reorient(source, "sagittal")
    assert sagittal.array.shape == (6, 4, 5)
    assert sagittal.source_axis == 1
    assert sagittal.sources == source.sources[::-1]  # rows run from head to feet there


def test_reorienting_copies_nothing() -> None:
    source = volume()
    turned, turning = reorient(source, "sagittal")
    assert np.shares_memory(turned.array, source.array)
    assert np.shares_memory(turning.inverse(turned.array), source.array)


def test_a_volume_on_its_own_grid_is_itself() -> None:
    source = volume(rotation((0.3, 0.2, 0.1)))
    resampled = resample_onto(source, source)
    np.testing.assert_allclose(resampled, source.array, atol=1e-3)
    assert resampled.dtype == np.float32


@given(turn=turns)
def test_resampling_evaluates_the_moving_volume_at_the_fixed_voxels(turn: np.ndarray) -> None:
    """A linear function of the place is interpolated exactly, on whatever grids."""
    moving, fixed = volume(shape=(30, 60, 60)), volume(turn)
    shift = fixed.to_patient(np.array([1.5, 2, 2.5])) - moving.to_patient(np.array([14.5, 29.5, 29.5]))
    moved = moving.affine.copy()
    moved[:3, 3] += shift
    index = np.stack(np.indices(moving.array.shape), axis=-1)
    moving = replace(moving, affine=moved)
    moving = replace(moving, array=(moving.to_patient(index) @ [1.0, -2.0, 0.5]).astype(np.float32))
    expected = fixed.to_patient(np.stack(np.indices(fixed.array.shape), axis=-1)) @ [1.0, -2.0, 0.5]
    np.testing.assert_allclose(resample_onto(moving, fixed), expected, atol=1e-3)


def test_a_transform_is_followed_from_fixed_to_moving() -> None:
    source = volume(shape=(8, 9, 10))
    turn = np.eye(4)
    turn[:3, :3], turn[:3, 3] = rotation((0.4, 0.2, -0.3)), (5, -6, 7)
    elsewhere = replace(source, affine=turn @ source.affine)  # the same voxels, in a patient who lay differently
    np.testing.assert_allclose(resample_onto(elsewhere, source, transform=turn), source.array, atol=0.01)


def test_outside_is_the_smallest_value_or_what_is_asked_for() -> None:
    source = volume()
    far = replace(source, affine=source.affine + np.array([[0, 0, 0, 1000]] + [[0] * 4] * 3))
    assert (resample_onto(source, far) == source.array.min()).all()
    assert (resample_onto(source, far, outside=5) == 5).all()


def test_nearest_keeps_labels_and_type() -> None:
    labels = replace(volume(), array=RNG.integers(0, 4, (4, 5, 6)).astype(np.uint8))
    finer = replace(labels, affine=labels.affine @ np.diag([1, 0.5, 0.5, 1]))
    resampled = resample_onto(labels, finer, interpolation="nearest")
    assert resampled.dtype == np.uint8
    assert set(np.unique(resampled)) <= set(range(4))


def test_a_reoriented_volume_resamples_like_the_original() -> None:
    source = volume(rotation((0.3, 0.2, 0.1)), (9, 9, 9))
    turned, _ = reorient(source, "sagittal")
    fixed = volume()
    np.testing.assert_allclose(resample_onto(turned, fixed), resample_onto(source, fixed), atol=1e-2)
