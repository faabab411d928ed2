from __future__ import annotations

import numpy as np
import pytest

from dicomio.volumes.masks import MaskBox, mask_boxes

RNG = np.random.default_rng(7)


def test_a_box_holds_the_voxels_and_no_more():
    mask = np.zeros((5, 6, 7), bool)
    mask[1:3, 2, 4:6] = True
    box = MaskBox.of(mask)
    assert (box.start, box.voxels.shape, box.grid) == ((1, 2, 4), (2, 1, 2), (5, 6, 7))
    assert (box.count, box.slices(), box.empty) == (4, [1, 2], False)
    assert np.array_equal(box.full(), mask)


def test_the_box_of_nothing_is_empty():
    box = MaskBox.of(np.zeros((2, 3, 4), np.uint8))
    assert box.empty
    assert box.slices() == []
    assert not box.full().any()


def test_numbers_other_than_one_count_as_inside():
    assert MaskBox.of(np.array([[[0, 7]]])).count == 1


def test_a_mask_needs_three_axes():
    with pytest.raises(ValueError, match="three axes"):
        MaskBox.of(np.zeros((4, 4)))


def test_touching_is_sharing_a_voxel_and_not_a_box():
    ring = np.ones((3, 3, 3), bool)
    ring[1, 1, 1] = False
    middle = ~ring
    assert not MaskBox.of(ring).touches(MaskBox.of(middle))
    assert MaskBox.of(ring).touches(MaskBox.of(middle | (np.indices(ring.shape).sum(axis=0) == 0)))
    assert MaskBox.of(middle).touches(MaskBox.of(middle))


def test_boxes_of_a_label_map_are_its_labels():
    labels = RNG.integers(0, 4, (4, 5, 6)).astype(np.uint16)
    labels[labels == 2] = 9
    boxes = dict(mask_boxes(labels))
    assert sorted(boxes) == [1, 3, 9]
    for number, box in boxes.items():
        assert np.array_equal(box.full(), labels == number)
