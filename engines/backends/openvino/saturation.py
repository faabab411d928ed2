"""INT8 networks for processors that cut sums off at 16 bits.

x86 without VNNI and AMX multiplies eight unsigned by eight signed bits two at a time, and adds both products in 16 bits
(PMADDUBSW): 255 x 127 + 255 x 127 is cut off at half. oneDNN lays weights out so that the two are neighbouring input
channels of one tap. Of the convolutions' weights, those output channels in which two such neighbours add up to too much
get a larger step, as much larger as it takes; others keep their eight bits. The usual remedy, seven bits for all
weights, costs more: Dice 0.994 against 0.996 for whole brains (docs/lab/networks.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.libraries import import_openvino

LARGEST_PAIR = 136
"""Two weights that add up to this are cut off only where both inputs are above 94 % of the largest ever seen (241)."""

_STEPS = 8  # of 1 % each: rounding may leave a pair a little too large


def narrow_weights(model: Any) -> int:
    """Gives weights of eight bits a larger step where their sums would be cut off; changes `model` in place.

    Args:
        model: openvino.Model whose weights are constants of eight bits, converted and multiplied by a scale.

    Returns:
        How many constants were changed.
    """
    changed = 0
    for constant in model.get_ordered_ops():
        scaled = _scaled(constant)
        if scaled is None:
            continue
        weights, scale = constant.get_data(), scaled.input_value(1).get_node().get_data()
        narrower, factor = narrowed(weights)
        if (factor == 1).all():
            continue
        ops = import_openvino().opset13
        new = ops.multiply(
            ops.convert(ops.constant(narrower), "f32"), ops.constant((scale * factor).astype(np.float32))
        )
        scaled.output(0).replace(new.output(0))
        changed += 1
    if changed:
        model.validate_nodes_and_infer_types()
    return changed


def narrowed(weights: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights (outputs, inputs, ...) that add up to no more than `LARGEST_PAIR`, and the factors (outputs, 1, ...)."""
    factor = np.maximum(1, largest_pairs(weights) / LARGEST_PAIR)
    for _ in range(_STEPS):
        smaller = np.round(weights / _beside(factor, weights)).astype(np.int8)
        over = largest_pairs(smaller) > LARGEST_PAIR
        if not over.any():
            break
        factor = np.where(over, factor * 1.01, factor)
    return smaller, _beside(factor, weights).astype(np.float32)


def largest_pairs(weights: NDArray[np.int8]) -> NDArray[np.int_]:
    """By output channel, what two neighbouring input channels add up to at most, products of either sign apart."""
    wide = weights.astype(np.int_)
    if wide.shape[1] % 2:
        wide = np.concatenate([wide, np.zeros_like(wide[:, :1])], axis=1)
    sums = [np.maximum(sign * wide, 0) for sign in (1, -1)]
    axes = tuple(range(1, wide.ndim))
    above, below = ((one[:, ::2] + one[:, 1::2]).max(axes) for one in sums)
    found: NDArray[np.int_] = np.maximum(above, below)
    return found


def _beside(factor: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    return factor.reshape(-1, *[1] * (weights.ndim - 1))


def _scaled(constant: Any) -> Any:
    """The product of these weights and their scales, if only convolutions of input channels read it."""
    if constant.get_type_name() != "Constant" or constant.get_element_type().get_type_name() != "i8":
        return None
    converted = _only_reader(constant, "Convert")
    product = converted and _only_reader(converted, "Multiply")
    kinds = {reader.get_type_name() for reader in _readers(product)} if product else set()
    return product if kinds == {"Convolution"} else None


def _only_reader(node: Any, kind: str) -> Any:
    readers = _readers(node)
    return readers[0] if len(readers) == 1 and readers[0].get_type_name() == kind else None


def _readers(node: Any) -> list[Any]:
    return [target.get_node() for target in node.output(0).get_target_inputs()]
