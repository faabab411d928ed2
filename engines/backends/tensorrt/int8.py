"""A network with convolutions in INT8, the rest in FP16, for an engine whose precision is what the ONNX graph says.

That is TensorRT. It is made of the FP32 network and of calibrated values. Scales are symmetric (zero stays zero), one
per output channel of a weight and one per activation, as TensorRT wants them; ONNX Runtime's quantiser writes them as
QuantizeLinear and DequantizeLinear before each convolution, and nothing after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engines.backends.tensorrt.fp16 import converter as half_converter
from engines.backends.tensorrt.fp16 import plain, to_half

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

CONVERSION = 1
"""Raise it when what is done here around the quantiser changes, so that no plan of before is taken for one of now."""

OPSET = 19
"""The first whose QuantizeLinear takes FP16."""
LEAST = 2.0**-23
"""Scales under it become another number in FP16: the converter knows none under 1e-7."""


def converter() -> str:
    """Names and versions of what converts: another one may convert otherwise."""
    import onnx
    import onnxruntime

    tools = f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}"
    return f"{tools}, conversion {CONVERSION}, {half_converter()}"


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

    half: bytes = to_half(quantised(plain(onnx.load_from_string(network)), largest)).SerializeToString()
    return half


def quantised(model: ModelProto, largest: Mapping[str, float]) -> ModelProto:
    """The network with QuantizeLinear and DequantizeLinear before each of its `convolutions`; the rest is FP32.

    Whoever else reads such a tensor reads the rounded one too, as the quantiser would have it and as suits TensorRT:
    an addition of a residual gets both sides in eight bits.

    Args:
        model: From `plain`; it is left as it is.
        largest: As for `in_eight_bits`.

    Raises:
        KeyError: See `in_eight_bits`.
        ValueError: No convolution of the network may be in eight bits.
    """
    import numpy as np
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData

    version = next(one.version for one in model.opset_import if not one.domain)
    copy = onnx.ModelProto()
    copy.CopyFrom(version_converter.convert_version(model, OPSET) if version < OPSET else model)
    chosen = {node.name: node.input[0] for node in convolutions(copy)}
    if not chosen:
        raise ValueError("it has no convolution that another one or a dense layer comes after")
    read = {node.name: list(node.input) for node in copy.graph.node if node.op_type == "Conv"}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    ranges = {name: (np.float32(-largest[name]), np.float32(largest[name])) for name in chosen.values()}
    quantiser = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=list(chosen),
        nodes_to_exclude=[],
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
    kept = {tensor.name for tensor in answer.graph.initializer}
    for node in answer.graph.node:
        if node.name in read and node.name not in chosen:  # it shares a tensor or a weight with one that is chosen
            node.input[:] = read[node.name]
            answer.graph.initializer.extend(weights[name] for name in node.input if name in weights.keys() - kept)
            kept.update(node.input)
    _round_scales(answer, weights)
    return answer


def _round_scales(model: ModelProto, weights: Mapping[str, TensorProto]) -> None:
    """Makes the scales of weights numbers of FP16, and the weights anew by those: FP16 then changes nothing of them."""
    import numpy as np
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in tensors:
            continue
        whole = numpy_helper.to_array(weights[node.input[0].removesuffix("_quantized")])
        scales = np.maximum(numpy_helper.to_array(tensors[node.input[1]]), LEAST)
        rounded = scales.astype(np.float16)
        rounded = np.where(rounded < scales, np.nextafter(rounded, np.float16(np.inf)), rounded).astype(np.float32)
        steps = np.clip(np.rint(whole / rounded.reshape(-1, *[1] * (whole.ndim - 1))), -127, 127).astype(np.int8)
        tensors[node.input[0]].CopyFrom(numpy_helper.from_array(steps, node.input[0]))
        tensors[node.input[1]].CopyFrom(numpy_helper.from_array(rounded, node.input[1]))


def convolutions(model: ModelProto) -> list[NodeProto]:
    """The convolutions that may be in eight bits: all with weights of their own but those that no other comes after.

    Nothing would even their errors out. Where a dense layer answers, it is the last one, and all of them may be.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
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
    return [
        node
        for node in model.graph.node
        if node.op_type == "Conv"
        and (dense or node.name in followed)
        and node.input[1] in weights
        and node.input[0] not in weights
    ]
