"""Grids around a brain: exact where voxels coincide, true to the millimetre where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomio.volumes.volume import Volume
from pipelines.brain.grid import box_around, covered, millimetre_grid, restore, sample
from pipelines.brain.volume import SHAPE, crop


def volume(shape: tuple[int, int, int], spacing: tuple[float, float, float], turn: float = 0.0) -> Volume:
    """A smooth function of the place in the patient, on a grid that may be nodded by `turn` degrees."""
    angle = np.radians(turn)
    nod = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = nod @ (np.diag(spacing)[::-1])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    empty = Volume(np.zeros(shape, np.float32), affine, "1.2", "MR", "1.2.3", (), None)
    points = empty.to_patient(np.stack(np.indices(shape), axis=-1))
    return replace(empty, array=field(points).astype(np.float32))


def field(points: np.ndarray) -> np.ndarray:
    return np.asarray(500 + 100 * np.sin(points[..., 0] / 25) + 80 * np.cos(points[..., 1] / 30) + points[..., 2])


def test_voxels_of_a_millimetre_are_copied_and_not_interpolated() -> None:
    image = volume((90, 110, 100), (1.0, 1.0, 1.0))
    grid = millimetre_grid(image)
    assert grid.array.shape == image.array.shape
    np.testing.assert_array_equal(sample(image, grid, None), image.array)
    box = box_around(grid, (40, 50, 60))
    expected = crop(image.array - image.array.min(), (40, 50, 60)) + image.array.min()
    np.testing.assert_array_equal(sample(image, box, None) > 0, expected > 0)
    np.testing.assert_array_equal(sample(image, box, None)[80, 96, 80], image.array[40, 50, 60])


@pytest.mark.parametrize(
    ("spacing", "turn"), [((5.0, 0.8, 0.8), 0.0), ((1.0, 0.45, 0.45), 0.0), ((3.0, 1.1, 1.1), 15.0)]
)
def test_other_grids_give_the_value_of_the_place(spacing: tuple[float, float, float], turn: float) -> None:
    shape = tuple(int(140 / step) for step in spacing)
    image = volume((shape[0], shape[1], shape[2]), spacing, turn)
    box = box_around(millimetre_grid(volume((141, 141, 141), (1.0, 1.0, 1.0))), (70, 70, 70))
    inside = covered(image, box, None)
    inside[[0, -1]] = False
    values = sample(image, box, None)
    index = np.argwhere(inside & covered(replace(image, array=image.array[1:-1, 2:-2, 2:-2]), box, None))
    places = box.to_patient(index)
    away = np.abs(values[tuple(index.T)] - field(places))
    assert np.percentile(away, 95) < 2.5
    assert away.mean() < 1.0


def test_a_transform_says_where_the_image_lies() -> None:
    image = volume((80, 80, 80), (1.5, 1.5, 1.5))
    shift = np.eye(4)
    shift[:3, 3] = 7, -4, 3
    moved = replace(image, affine=shift @ image.affine)
    grid = millimetre_grid(volume((60, 60, 60), (1.0, 1.0, 1.0)))
    np.testing.assert_allclose(sample(moved, grid, shift), sample(image, grid, None), atol=1e-3)
    assert covered(moved, grid, shift).all()


def test_an_answer_comes_back_to_thick_slices_with_its_volume() -> None:
    grid = millimetre_grid(volume((141, 141, 141), (1.0, 1.0, 1.0)))
    box = box_around(grid, (70, 70, 70))
    away = np.linalg.norm(box.to_patient(np.stack(np.indices(SHAPE), axis=-1)) - np.array([10.0, -5.0, 7.0]), axis=-1)
    probability = np.stack([np.clip(20 - away + 0.5, 0, 1), np.clip(9 - away + 0.5, 0, 1)]).astype(np.float32)
    flair = volume((24, 160, 160), (6.0, 0.9, 0.9), 10.0)
    masks = restore(probability, box, flair, np.array([0.5, 0.5], np.float32))
    assert masks.shape == (2, *flair.array.shape)
    for mask, radius in zip(masks, (20, 9), strict=True):
        assert mask.sum() * flair.voxel_ml == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.06)
        middle = flair.to_patient(np.argwhere(mask).mean(axis=0))
        np.testing.assert_allclose(middle, (10, -5, 7), atol=0.5)
    assert not restore(probability * 0, box, flair, np.array([0.5, 0.5], np.float32)).any()
