"""A network in FP16, made of the FP32 one: for an engine whose precision is what the ONNX graph says (TensorRT)."""

from __future__ import annotations

import warnings
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

TOOL = "onnxconverter-common"
CONVERSION = 1
"""Raise it when what is done here around the converter changes, so that no plan of before is taken for one of now."""

NARROW = ".fp16"
"""Ending of the name of a weight kept in 16 bits (training.package.sixteen_bits); it is cast to FP32 before use."""

# They sum squares over whole images, which leaves FP16's range; batch norm has its statistics already.
OWN_STATISTICS = frozenset({"InstanceNormalization", "GroupNormalization", "LayerNormalization", "LpNormalization"})
# Resize knows FP16 since opset 10; the converter's list keeps it in FP32 because its scales must be.
HALF_AFTER_ALL = frozenset({"Resize", "Min", "Max"})


def can_halve() -> bool:
    """Whether the converter is installed (extras `gpu` and `train`)."""
    return find_spec("onnxconverter_common") is not None


def converter() -> str:
    """Names and versions of what converts: another one may convert otherwise."""
    return f"{TOOL} {metadata.version(TOOL)}, conversion {CONVERSION}"


def halved(network: bytes) -> bytes:
    """An ONNX file of the same network in FP16, inputs and outputs in FP32 as they were.

    Raises:
        Exception: Whatever the converter and ONNX's checker raise for a network that they cannot convert.
    """
    import onnx

    half: bytes = to_half(plain(onnx.load_from_string(network))).SerializeToString()
    return half


def to_half(model: ModelProto, in_full: frozenset[str] = frozenset()) -> ModelProto:
    """The network in FP16 (onnxconverter-common's conversion), with inputs and outputs in FP32 still.

    Args:
        model: Any network in FP32; it is left as it is.
        in_full: Names of nodes that stay in FP32.
    """
    import onnx
    from onnxconverter_common import float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    blocked = (set(float16.DEFAULT_OP_BLOCK_LIST) | OWN_STATISTICS) - HALF_AFTER_ALL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of every tiny weight that becomes the least FP16 number
        half: ModelProto = float16.convert_float_to_float16(
            copy, keep_io_types=True, op_block_list=sorted(blocked), node_block_list=sorted(in_full)
        )
    _restore_scales(half, model)
    onnx.checker.check_model(half, full_check=True)
    return half


def _restore_scales(half: ModelProto, model: ModelProto) -> None:
    """Gives Resize its scales back in FP32, which is what its definition wants beside an FP16 image.

    What the converter noted of types in between goes: it is of scales in FP16, and every reader infers it anew.
    """
    del half.graph.value_info[:]
    scales = {node.input[2] for node in model.graph.node if node.op_type == "Resize" and len(node.input) > 2}
    whole = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name in scales}
    for tensor in half.graph.initializer:
        if tensor.name in whole:
            tensor.CopyFrom(whole[tensor.name])


def plain(model: ModelProto) -> ModelProto:
    """The same network as the converter wants it: weights in FP32, constants among them, every node with a name.

    Each Resize gets scales of its own, since those stay in FP32 and a weight that shares their numbers does not.
    """
    wide = widened(model)
    weights, nodes = wide.graph.initializer, []
    for number, node in enumerate(wide.graph.node):
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            weights.add().CopyFrom(node.attribute[0].t)
            weights[-1].name = node.output[0]
            continue
        node.name = node.name or f"{node.op_type}.{number}"
        nodes.append(node)
    known = {tensor.name: tensor for tensor in weights}
    for node in nodes:
        if node.op_type == "Resize" and len(node.input) > 2 and node.input[2] in known:
            weights.add().CopyFrom(known[node.input[2]])
            weights[-1].name = node.input[2] = f"{node.input[2]}.of.{node.name}"
    del wide.graph.node[:]
    wide.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input} | {output.name for output in wide.graph.output}
    for tensor in [tensor for tensor in weights if tensor.name not in read]:
        weights.remove(tensor)
    return wide


def widened(model: ModelProto) -> ModelProto:
    """The network with its weights in FP32; undoes `training.package.sixteen_bits.store_in_half`."""
    import numpy as np
    from onnx import ModelProto, numpy_helper

    wide = ModelProto()
    wide.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in wide.graph.initializer}
    nodes = []
    for node in wide.graph.node:
        if node.op_type == "Cast" and node.input[0].endswith(NARROW) and node.input[0] in tensors:
            tensor = tensors[node.input[0]]
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), node.output[0]))
        else:
            nodes.append(node)
    del wide.graph.node[:]
    wide.graph.node.extend(nodes)
    return wide
