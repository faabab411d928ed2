"""INT8 where sums are cut off at 16 bits: weights that no longer add up to too much, in networks of OpenVINO's own."""

from __future__ import annotations

import numpy as np
import pytest

from engines.backends.openvino.saturation import LARGEST_PAIR, largest_pairs, narrow_weights, narrowed
from engines.libraries import import_openvino


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)


def two_eyed(numbers: np.ndarray, *, readers: int = 1, kind: str = "convolution"):
    """A network whose weights of eight bits are read by so many convolutions."""
    ov = import_openvino()
    ops = ov.opset13
    scaled = ops.multiply(
        ops.convert(ops.constant(numbers), "f32"), ops.constant(np.full((4, 1, 1, 1), 0.01, np.float32))
    )
    image = ops.parameter([1, numbers.shape[1], 8, 8], dtype=np.float32)
    if kind == "add":
        return ov.Model([ops.add(scaled, ops.constant(np.float32(1)))], [image])
    found = [ops.convolution(image, scaled, [1, 1], [1, 1], [1, 1], [1, 1]) for _ in range(readers)]
    return ov.Model(found, [image])


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (8, 5, 1, 1), (3, 1, 3, 3), (2, 6, 3, 3, 3)])
def test_no_two_neighbours_add_up_to_too_much(shape):
    before = weights(*shape)
    after, factor = narrowed(before)
    assert largest_pairs(after).max() <= LARGEST_PAIR
    np.testing.assert_allclose(after * factor, before, atol=float(factor.max()) / 2 + 1e-3)


def test_channels_that_need_no_care_keep_their_eight_bits():
    before = weights(2, 4, 1, 1)
    before[1] = np.array([127, 9, -127, 9]).reshape(4, 1, 1)
    after, factor = narrowed(before)
    np.testing.assert_array_equal(after[1], before[1])
    assert factor[1] == 1


def test_signs_are_not_added_to_each_other():
    assert largest_pairs(np.array([[[[100]], [[-100]], [[-90]], [[-80]]]], np.int8)).tolist() == [170]


@pytest.mark.parametrize("readers", [1, 2])
def test_a_network_answers_as_before_but_for_the_step(readers):
    core, numbers = import_openvino().Core(), weights(4, 6, 3, 3)
    image = np.random.default_rng(1).random((1, 6, 8, 8), np.float32)
    model = two_eyed(numbers, readers=readers)
    before = core.compile_model(model.clone(), "CPU")(image)[0]
    assert narrow_weights(model) == 1
    after = core.compile_model(model, "CPU")(image)[0]
    assert 0 < np.abs(after - before).max() < 0.02 * np.abs(before).max()
    assert narrow_weights(model) == 0  # nothing is left to do


def test_what_no_convolution_reads_is_left_alone():
    assert narrow_weights(two_eyed(weights(4, 6, 3, 3), kind="add")) == 0
