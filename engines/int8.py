"""A network with convolutions in INT8, the rest in FP16, for an engine whose precision is what the ONNX graph says.

That is TensorRT. It is made of the FP32 network and of calibrated values.

TensorRT wants scales that are symmetric (zero stays zero), one per output channel of a weight and one per activation,
before each convolution and nowhere else; ONNX Runtime's quantiser writes them as QuantizeLinear and DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engines.half import converter as half_converter
from engines.half import plain, to_half

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

CONVERSION = 1
"""Raise it when what is done here around the quantiser changes, so that no plan of before is taken for one of now."""

OPSET = 19
"""The first whose QuantizeLinear takes FP16."""


def converter() -> str:
    """Names and versions of what converts: another one may convert otherwise."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}, conversion {CONVERSION}, {half_converter()}"


def in_eight_bits(network: bytes, largest: Mapping[str, float]) -> bytes:
    """An ONNX file of the same network, convolutions in INT8, the rest in FP16, inputs and outputs in FP32.

    Args:
        network: In FP32.
        largest: By the name of each tensor that a convolution of `convolutions` reads: the largest absolute value that
            eight bits must reach.

    Raises:
        KeyError: A tensor has no value: it is the calibration of another network.
        Exception: Whatever quantiser, converter and ONNX's checker raise for a network that they cannot convert.
    """
    import onnx
    from onnx import version_converter

    model = quantised(plain(onnx.load_from_string(network)), largest)
    half: bytes = to_half(version_converter.convert_version(model, OPSET)).SerializeToString()
    return half


def quantised(model: ModelProto, largest: Mapping[str, float]) -> ModelProto:
    """The network with QuantizeLinear and DequantizeLinear before each of its `convolutions`; the rest is FP32.

    Args:
        model: From `plain`; it is left as it is.
        largest: As for `in_eight_bits`.

    Raises:
        KeyError: See `in_eight_bits`.
    """
    import numpy as np
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    chosen = convolutions(copy)
    ranges = {
        node.input[0]: (np.float32(-largest[node.input[0]]), np.float32(largest[node.input[0]])) for node in chosen
    }
    others = {node.name for node in copy.graph.node} - {node.name for node in chosen}
    quantiser = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[node.name for node in chosen],
        nodes_to_exclude=sorted(others),
        op_types_to_quantize=["Conv"],
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,  # TensorRT adds it in floating point
            "OpTypesToExcludeOutputQuantization": ["Conv"],  # it puts the scale of what comes next there by itself
        },
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()  # it appends what it adds
    answer: ModelProto = quantiser.model.model
    return answer


def convolutions(model: ModelProto) -> list[NodeProto]:
    """The convolutions that may be in eight bits: all but those that no other comes after.

    Nothing would even their errors out. Where a dense layer answers, it is the last one, and all of them may be.
    """
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    followed: set[str] = set()
    for node in reversed(model.graph.node):  # in ONNX what is read comes before who reads it
        after = [reader for name in node.output for reader in readers.get(name, [])]
        if any(reader.op_type == "Conv" or reader.name in followed for reader in after):
            followed.add(node.name)
    dense = any(node.op_type in {"Gemm", "MatMul"} and node.name not in followed for node in model.graph.node)
    return [node for node in model.graph.node if node.op_type == "Conv" and (dense or node.name in followed)]
