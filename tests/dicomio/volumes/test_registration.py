from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own documentation calls it so

from dicomio.errors import RegistrationFailed
from dicomio.volumes.registration import detect_movement, displacement, register_rigid, single_threaded_sitk
from dicomio.volumes.volume import Volume


def head(spacing: tuple[float, float, float], *, inverted: bool) -> Volume:
    """A head with a skull, two unequal ventricles, a lesion and a nose; with other contrasts if `inverted`."""
    size = np.array([180.0, 220.0, 180.0])
    shape = tuple(int(extent / step) for extent, step in zip(size, spacing, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)[::-1]
    affine[:3, 3] = -np.array([size[2], size[1], size[0]]) / 2
    index = np.stack(np.indices(shape), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]

    def inside(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        within: np.ndarray = (((points - centre) / radii) ** 2).sum(axis=-1) < 1
        return within

    array = np.zeros(shape, dtype=np.float32)
    grey = (200, 80, 140, 20) if inverted else (60, 150, 40, 200)
    array[inside((0, 0, 0), (70, 90, 75)) | inside((0, -92, -15), (10, 14, 12))] = grey[0]
    array[inside((0, 0, 0), (64, 83, 69))] = grey[1]
    array[inside((-14, 5, 10), (8, 30, 12)) | inside((15, 12, 8), (9, 20, 14))] = grey[2]
    array[inside((25, -30, 30), (14, 12, 11))] = grey[3]
    array += np.random.default_rng(1).normal(0, 3, shape).astype(np.float32)
    return Volume(array, affine, "1.2", "MR", "1.2.3", (), None)


def moved(volume: Volume, degrees: float, shift: tuple[float, float, float]) -> tuple[Volume, np.ndarray]:
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = shift
    return replace(volume, affine=turn @ volume.affine), turn


@pytest.mark.parametrize(("degrees", "shift"), [(0, (0, 0, 0)), (8, (12, -9, 6)), (-12, (60, 40, -150))])
def test_another_sequence_is_laid_on_the_first(degrees: float, shift: tuple[float, float, float]) -> None:
    fixed = head((5.0, 1.2, 1.2), inverted=False)
    moving, truth = moved(head((3.0, 1.5, 1.5), inverted=True), degrees, shift)
    found = register_rigid(moving, fixed)
    points = np.random.default_rng(2).uniform(-60, 60, (200, 3))
    errors = (points @ found[:3, :3].T + found[:3, 3]) - (points @ truth[:3, :3].T + truth[:3, 3])
    assert np.linalg.norm(errors, axis=1).mean() < 0.3
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)


def test_the_same_volumes_give_the_same_transform_to_the_last_bit() -> None:
    fixed = head((5.0, 1.5, 1.5), inverted=False)
    moving, _ = moved(head((5.0, 1.5, 1.5), inverted=True), 5, (4, 5, 6))
    np.testing.assert_array_equal(register_rigid(moving, fixed), register_rigid(moving, fixed))


def test_what_cannot_be_aligned_says_so() -> None:
    fixed = head((5.0, 2.0, 2.0), inverted=False)
    nothing = replace(fixed, array=np.zeros_like(fixed.array), series_instance_uid="1.9")
    with pytest.raises(RegistrationFailed) as caught:
        register_rigid(nothing, fixed)
    assert (caught.value.moving_uid, caught.value.fixed_uid) == ("1.9", "1.2.3")


@pytest.mark.parametrize(
    ("degrees", "shift", "moved_mm"), [(0, (0, 0, 0), 0), (0.3, (0.5, 0, 0.4), 0), (4, (6, 3, 2), 7)]
)
def test_that_a_patient_moved_is_seen_and_that_one_lay_still_too(
    degrees: float, shift: tuple[float, float, float], moved_mm: float
) -> None:
    fixed = head((5.0, 1.2, 1.2), inverted=False)
    moving, truth = moved(head((4.0, 1.5, 1.5), inverted=True), degrees, shift)
    found = detect_movement(moving, fixed)
    if moved_mm:
        assert found is not None
        assert displacement(found, truth, fixed) < 1.0
        assert displacement(found, np.eye(4), fixed) == pytest.approx(moved_mm, abs=2)
    else:
        assert found is None


def test_where_nothing_can_be_said_the_scanners_coordinates_stand() -> None:
    fixed = head((5.0, 2.0, 2.0), inverted=False)
    assert detect_movement(replace(fixed, array=np.zeros_like(fixed.array)), fixed) is None


def test_the_last_search_that_ends_puts_the_number_of_threads_back() -> None:
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(3)
    inside, leave = threading.Event(), threading.Event()

    def search() -> None:
        with single_threaded_sitk():
            inside.set()
            leave.wait(60)

    other = threading.Thread(target=search)
    try:
        with single_threaded_sitk():
            other.start()
            assert inside.wait(60)
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 1  # the other one still searches
        leave.set()
        other.join()
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 3
    finally:
        leave.set()
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def test_searches_side_by_side_find_what_each_finds_alone() -> None:
    fixed = head((5.0, 1.5, 1.5), inverted=False)
    moving = [moved(head((5.0, 1.5, 1.5), inverted=True), degrees, (9.0, -6.0, 4.0))[0] for degrees in (4.0, 7.0)]
    alone = [detect_movement(volume, fixed) for volume in moving]
    with ThreadPoolExecutor(2) as threads:
        beside = list(threads.map(lambda volume: detect_movement(volume, fixed), moving))
    assert all(found is not None for found in alone)
    np.testing.assert_array_equal(beside, alone)
