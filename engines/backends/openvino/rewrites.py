"""What we change in a network before OpenVINO compiles it; its answers stay the same but for rounding.

**A pixel unshuffle is folded into the convolutions that read it.** Networks that begin by turning blocks of pixels into
channels (half the resolution, four times the channels, nothing lost) spend up to a sixth of their time on it in
bfloat16: passes over the image that only move numbers. A convolution over b x b blocks is a convolution over the pixels
with a kernel and a stride b times as large, whose weights are the same numbers in another order.

**A mirror image is gathered.** OpenVINO 2026 walks a slice with a negative step number by number (0.28 ms for five
channels of 192 x 160, a ninth of a small classifier in INT8); `Gather` over the turned positions takes a third of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engines.libraries import import_openvino

REWRITES = 3
"""Raise it when a rewrite changes, or what saturation.py does: compiled networks are kept by it."""


def rewrite(model: Any) -> None:
    """All of them, in place.

    Args:
        model: openvino.Model with fixed shapes.
    """
    fold_unshuffles(model)
    gather_flips(model)


def gather_flips(model: Any) -> int:
    """Replaces slices that turn one axis round, all of it, by gathering; returns how many, changes `model` in place."""
    ops = import_openvino().opset13
    replaced = 0
    for node in model.get_ordered_ops():
        axis = _flipped_axis(node)
        if axis is None:
            continue
        turned = np.arange(node.get_output_shape(0)[axis], dtype=np.int64)[::-1].copy()
        flip = ops.gather(node.input_value(0), ops.constant(turned), ops.constant(np.int64(axis)))
        node.output(0).replace(flip.output(0))
        replaced += 1
    if replaced:
        model.validate_nodes_and_infer_types()
    return replaced


def _flipped_axis(node: Any) -> int | None:
    """The axis that this node turns round and leaves whole, if it does nothing else."""
    if node.get_type_name() != "Slice" or node.output(0).get_partial_shape().is_dynamic:
        return None
    if list(node.get_input_shape(0)) != list(node.get_output_shape(0)):
        return None
    steps = _numbers(node.input_value(3))
    axes = _numbers(node.input_value(4)) if node.get_input_size() > 4 else None
    if steps != [-1] or axes is None or len(axes) != 1:
        return None
    return axes[0] % len(node.get_output_shape(0))


def fold_unshuffles(model: Any) -> int:
    """Replaces reshape -> transpose -> reshape -> convolutions by convolutions: 2D, any block size.

    Args:
        model: openvino.Model with fixed shapes; changed in place.

    Returns:
        How many convolutions were replaced. Those of an unshuffle that somebody else reads too are left alone.
    """
    replaced = 0
    for node in model.get_ordered_ops():
        found = _unshuffle(node)
        if found is None:
            continue
        source, blocked, block = found
        readers = [target.get_node() for target in blocked.get_target_inputs()]
        if not all(_foldable(reader, blocked) for reader in readers):
            continue
        for reader in readers:
            reader.output(0).replace(_folded(reader, source, block).output(0))
            replaced += 1
    if replaced:
        model.validate_nodes_and_infer_types()
    return replaced


def _unshuffle(transpose: Any) -> tuple[Any, Any, int] | None:
    """What is unshuffled, the result, and the block size, if this transpose is the middle of an unshuffle."""
    if transpose.get_type_name() != "Transpose" or transpose.input_value(0).get_node().get_type_name() != "Reshape":
        return None
    readers = list(transpose.output(0).get_target_inputs())
    if len(readers) != 1 or readers[0].get_node().get_type_name() != "Reshape":
        return None
    source, blocked = transpose.input_value(0).get_node().input_value(0), readers[0].get_node().output(0)
    if source.get_partial_shape().is_dynamic or blocked.get_partial_shape().is_dynamic:
        return None
    before, after = list(source.get_shape()), list(blocked.get_shape())
    if len(before) != 4 or len(after) != 4 or before[2] % after[2]:
        return None
    (batch, channels, height, width), block = before, before[2] // after[2]
    rows, columns = height // block, width // block
    suits = (
        block > 1
        and list(transpose.input_value(0).get_shape()) == [batch, channels, rows, block, columns, block]
        and _numbers(transpose.input_value(1)) == [0, 1, 3, 5, 2, 4]
        and after == [batch, channels * block**2, rows, columns]
    )
    return (source, blocked, block) if suits else None


def _numbers(output: Any) -> list[int] | None:
    node = output.get_node()
    return [int(value) for value in node.get_data()] if node.get_type_name() == "Constant" else None


def _foldable(reader: Any, blocked: Any) -> bool:
    if reader.get_type_name() != "Convolution" or reader.input_value(0) != blocked:
        return False
    attributes = reader.get_attributes()
    return (
        reader.input_value(1).get_node().get_type_name() == "Constant"
        and all(step == 1 for step in attributes["dilations"])
        and str(attributes["auto_pad"]).lower() in {"explicit", "notset"}
    )


def _folded(convolution: Any, source: Any, block: int) -> Any:
    """The convolution over pixels: output y reads rows b (s y + k - p) + i, where it read row s y + k - p of blocks."""
    ops = import_openvino().opset13
    attributes = convolution.get_attributes()
    weights = convolution.input_value(1).get_node().get_data()
    outputs, folded, high, wide = weights.shape
    apart = weights.reshape(outputs, folded // block**2, block, block, high, wide)
    kernel = apart.transpose(0, 1, 4, 2, 5, 3).reshape(outputs, folded // block**2, high * block, wide * block)
    return ops.convolution(
        source,
        ops.constant(np.ascontiguousarray(kernel)),
        [block * step for step in attributes["strides"]],
        [block * pad for pad in attributes["pads_begin"]],
        [block * pad for pad in attributes["pads_end"]],
        [1, 1],
    )
