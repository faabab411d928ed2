"""The steps around the liver network give what the plain ones give, only sooner."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dicomio.masks import MaskBox, extents, mask_boxes
from pipelines.abdomen_ct import fill_holes, keep_organ
from pipelines.measure import bounding_box


def blobs(seed: int, *shape: int, share: float = 0.5) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return noise > np.quantile(noise, 1 - share)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_holes_are_filled_as_scipy_fills_them(seed: int, share: float) -> None:
    plane = blobs(seed, 48, 40, share=share)
    expected = ndimage.binary_fill_holes(plane)
    fill_holes(plane)
    np.testing.assert_array_equal(plane, expected)


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full_planes_stay_so(value: bool) -> None:
    plane = np.full((5, 7), value)
    fill_holes(plane)
    assert (plane == value).all()


@pytest.mark.parametrize("seed", range(4))
def test_boxes_are_those_of_find_objects_on_the_whole_grid(seed: int) -> None:
    labels = np.zeros((12, 30, 28), np.uint16)
    labels[3:9, 5:25, 4:20] = ndimage.label(blobs(seed, 6, 20, 16, share=0.2))[0]
    labels[labels == 2] = 0  # a number that does not occur
    expected = {n: box for n, box in enumerate(ndimage.find_objects(labels), start=1) if box is not None}
    found = dict(mask_boxes(labels))
    assert found.keys() == expected.keys()
    for number, box in expected.items():
        assert found[number].start == tuple(part.start for part in box)
        np.testing.assert_array_equal(found[number].full(), labels == number)


def test_an_empty_mask_has_no_box() -> None:
    empty = np.zeros((4, 5, 6), bool)
    assert bounding_box(empty) is None
    assert extents(empty) == (slice(0, 0),) * 3
    assert MaskBox.of(empty).empty
    assert dict(mask_boxes(empty.astype(np.uint8))) == {}


def test_extents_hold_everything_and_no_more() -> None:
    mask = np.zeros((9, 8, 7), bool)
    mask[2, 3, 6] = mask[7, 0, 1] = True
    assert bounding_box(mask) == (slice(2, 8), slice(0, 4), slice(1, 7))


def test_the_largest_piece_is_kept_with_its_holes_filled() -> None:
    mask = np.zeros((10, 60, 60), bool)
    mask[1:9, 5:50, 5:50] = True
    mask[1:9, 20:25, 20:25] = False  # a vessel
    mask[0, 58, 58] = True  # a speck
    organ = keep_organ(mask, voxel_ml=0.01)
    assert organ[5, 22, 22]
    assert not organ[0, 58, 58]
    assert organ.sum() == 8 * 45 * 45
    assert not keep_organ(mask, voxel_ml=0.001).any()  # 16 ml are no liver


def test_one_piece_alone_is_kept_too() -> None:
    mask = np.zeros((6, 50, 50), bool)
    mask[1:5, 5:45, 5:45] = True
    np.testing.assert_array_equal(keep_organ(mask, voxel_ml=0.1), mask)
    assert not keep_organ(mask, voxel_ml=0.001).any()
