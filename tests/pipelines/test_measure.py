from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from dicomio.results.codes import Code
from dicomio.volumes.masks import MaskBox
from dicomio.volumes.volume import SourceImage, Volume
from pipelines.findings import Label
from pipelines.measure import anatomical_axes, bounding_box, measure_region, plane_diameters, split_components

LABEL = Label(1, "tumour", Code("49755003", "SCT", "Abnormal"), Code("108369006", "SCT", "Neoplasm"), (255, 0, 0))


def volume(shape: tuple[int, int, int], spacing: tuple[float, float, float], turn: np.ndarray | None = None) -> Volume:
    """Axial by default: slices run up (z), rows to the back (y), columns to the left (x)."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, spacing[2]], [0, spacing[1], 0], [spacing[0], 0, 0]])
    if turn is not None:
        affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = (-50, -60, 100)
    sources = tuple(SourceImage("1.2", f"1.2.{k}", Path("x"), None) for k in range(shape[0]))
    return Volume(
        array=np.zeros(shape, np.int16),
        affine=affine,
        frame_of_reference_uid="1.2.3",
        modality="MR",
        series_instance_uid="1.2.4",
        sources=sources,
    )


def ball(
    shape: tuple[int, int, int], centre: tuple[float, float, float], radius_mm: float, spacing: tuple[float, ...]
) -> np.ndarray:
    grid = np.indices(shape)
    return sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, spacing, strict=True)) <= radius_mm**2


def test_a_ball_measures_like_a_ball() -> None:
    spacing = (2.0, 0.8, 0.8)
    space = volume((40, 100, 100), spacing)
    mask = ball((40, 100, 100), (20, 50, 50), 15.0, spacing)
    region = measure_region(MaskBox.of(mask), space, LABEL, "Lesion 1")
    assert region.volume_ml == pytest.approx(4 / 3 * np.pi * 15**3 / 1000, rel=0.03)
    assert region.centroid_lps == pytest.approx((-50 + 50 * 0.8, -60 + 50 * 0.8, 100 + 20 * 2.0), abs=0.5)
    assert region.diameters is not None
    for diameter in (region.diameters.axial_mm, region.diameters.coronal_mm, region.diameters.sagittal_mm):
        assert diameter == pytest.approx(30, abs=2.1)
    assert region.slices[1] == 20


@pytest.mark.parametrize("seed", range(3))
def test_the_centroid_is_the_centre_of_mass(seed: int) -> None:
    space = volume((9, 20, 18), (3.0, 0.7, 0.9))
    mask = np.random.default_rng(seed).random((9, 20, 18)) < 0.3
    mask[:2], mask[:, :, :4] = False, False
    region = measure_region(MaskBox.of(mask), space, LABEL, "Lesion 1", with_diameters=False)
    expected = space.to_patient(np.array(ndimage.center_of_mass(mask)))
    np.testing.assert_allclose(region.centroid_lps, expected, rtol=1e-12)


def test_each_plane_has_its_own_diameter() -> None:
    space = volume((20, 50, 60), (5.0, 1.0, 2.0))
    mask = np.zeros((20, 50, 60), bool)
    mask[5:10, 10:40, 30:31] = True  # 25 mm up, 30 mm front to back, 2 mm wide
    found = plane_diameters(mask, space)
    assert found.axial_mm == pytest.approx(np.hypot(29, 2), abs=1.1)  # outline at edge midpoints
    assert found.sagittal_mm == pytest.approx(np.hypot(30, 20), abs=3)
    assert found.coronal_mm == pytest.approx(np.hypot(25, 0), abs=2.1)


def test_anatomical_axes_of_a_sagittal_series() -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.array([[3.0, 0, 0], [0, 0, 0.9], [0, -0.9, 0]])  # slices to the left, rows down, columns back
    assert anatomical_axes(affine) == (0, 2, 1)


def test_components_come_largest_first_and_small_ones_are_dropped() -> None:
    mask = np.zeros((10, 30, 30), bool)
    mask[1:3, 1:4, 1:4] = True
    mask[5:9, 10:20, 10:20] = True
    mask[0, 29, 29] = True
    parts = split_components(mask, voxel_ml=0.001, min_volume_ml=0.005)
    assert [int((parts.array == k).sum()) for k in (1, 2)] == [400, 18]
    assert parts.dropped == 1
    assert parts.array.max() == 2


def test_lesions_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert split_components(mask, voxel_ml=1, min_volume_ml=0).count == 1


def test_an_empty_mask_has_no_components_and_cannot_be_measured() -> None:
    empty = np.zeros((3, 4, 5), bool)
    assert bounding_box(empty) is None
    assert split_components(empty, voxel_ml=1, min_volume_ml=0).count == 0
    with pytest.raises(ValueError, match="empty"):
        measure_region(MaskBox.of(empty), volume((3, 4, 5), (1, 1, 1)), LABEL, "Lesion 1")


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 9), st.integers(0, 11)), min_size=1, max_size=40, unique=True)
)
def test_components_number_every_voxel_of_the_mask(points: list[tuple[int, int, int]]) -> None:
    mask = np.zeros((8, 10, 12), bool)
    mask[tuple(np.array(points).T)] = True
    parts = split_components(mask, voxel_ml=1, min_volume_ml=0)
    assert ((parts.array > 0) == mask).all()
    assert sorted(np.unique(parts.array[parts.array > 0])) == list(range(1, parts.count + 1))


def test_a_single_voxel_has_a_diameter_of_about_one_voxel() -> None:
    mask = np.zeros((3, 5, 5), bool)
    mask[1, 2, 2] = True
    found = plane_diameters(mask, volume((3, 5, 5), (1.0, 1.0, 1.0)))
    assert 1.0 <= found.axial_mm <= 1.5
