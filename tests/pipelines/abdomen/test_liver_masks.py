"""The steps around the liver network give what the plain ones give, only sooner."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dicomio.volumes.grid import Reorientation
from dicomio.volumes.masks import MaskBox, extents, mask_boxes, piece_sizes
from pipelines.abdomen.liver import fill_holes, keep_largest_component
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
    organ = keep_largest_component(mask, voxel_ml=0.01)
    assert organ[5, 22, 22]
    assert not organ[0, 58, 58]
    assert organ.sum() == 8 * 45 * 45
    assert not keep_largest_component(mask, voxel_ml=0.001).any()  # 16 ml are no liver


def test_one_piece_alone_is_kept_too() -> None:
    mask = np.zeros((6, 50, 50), bool)
    mask[1:5, 5:45, 5:45] = True
    np.testing.assert_array_equal(keep_largest_component(mask, voxel_ml=0.1), mask)
    assert not keep_largest_component(mask, voxel_ml=0.001).any()


def test_holes_of_the_largest_piece_are_filled_however_far_specks_lie() -> None:
    mask = blobs(3, 20, 70, 60, share=0.3)
    mask[2:18, 10:60, 8:50] |= blobs(4, 16, 50, 42, share=0.8)
    pieces, count = ndimage.label(mask)
    assert count > 3
    expected = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    expected = np.stack([ndimage.binary_fill_holes(plane) for plane in expected])
    np.testing.assert_array_equal(keep_largest_component(mask, voxel_ml=0.05), expected)


def test_an_empty_mask_holds_no_organ() -> None:
    assert not keep_largest_component(np.zeros((3, 4, 5), bool), voxel_ml=100.0).any()
    assert keep_largest_component(np.zeros((0, 0, 0), bool), voxel_ml=100.0).shape == (0, 0, 0)


def test_pieces_are_counted_by_their_own_voxels() -> None:
    mask = blobs(5, 12, 30, 28, share=0.3)
    pieces, count = ndimage.label(mask)
    np.testing.assert_array_equal(piece_sizes(pieces, mask, count), np.bincount(pieces.ravel())[1:])


def test_a_mask_of_a_part_lies_where_the_part_does() -> None:
    labels = np.zeros((12, 30, 28), np.uint8)
    box = (slice(3, 9), slice(5, 25), slice(4, 20))
    labels[box] = blobs(6, 6, 20, 16, share=0.2) * np.uint8(2)
    whole, placed = MaskBox.of(labels == 2), MaskBox.placed(labels[box] == 2, box, labels.shape)
    assert (whole.start, whole.grid) == (placed.start, placed.grid)
    np.testing.assert_array_equal(whole.voxels, placed.voxels)
    ((number, found),) = mask_boxes(labels, box)
    assert (number, found.start) == (2, whole.start)
    assert MaskBox.placed(np.zeros((2, 2, 2)), box, labels.shape).empty


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), (False, False, False)), ((2, 0, 1), (True, False, True)), ((1, 2, 0), (False, True, True))],
)
def test_a_box_turns_back_with_its_mask(axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> None:
    turned = Reorientation(axes, flips)
    mask = blobs(7, 9, 11, 13, share=0.05)
    box = extents(mask)
    back = turned.inverse(mask)
    there = turned.inverse_box(box, mask.shape)
    assert there == extents(back)
    np.testing.assert_array_equal(back[there], turned.inverse(mask[box]))
