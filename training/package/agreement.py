"""How the answers of a network in fewer bits compare with those of the one that a package holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from engines.gate import Agreement, agreement, reference_feeds
from engines.packages.package import ModelPackage


def in_words(found: Agreement, digits: str = ".3f") -> str:
    """How a card says what the gate's comparison found."""
    dice = "" if found.least_dice is None else f"least Dice of a mask {found.least_dice:.4f}, "
    return f"{dice}largest difference of a probability {found.max_difference:{digits}}"


def compare(package: ModelPackage, half: ModelProto) -> Agreement:
    """The gate's comparison of an FP16 network with the package's own, on its reference inputs, one by one."""
    feeds = reference_feeds(package)
    sessions = [_session(rounding(half).SerializeToString(), as_written=True), _session(package.network())]
    names = [spec.name for spec in package.manifest.outputs]
    count = len(next(iter(feeds.values())))
    answers: list[dict[str, Any]] = []
    for session in sessions:
        parts = [session.run(names, {key: array[i : i + 1] for key, array in feeds.items()}) for i in range(count)]
        answers.append(
            {name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}
        )
    return agreement(package.manifest, answers[0], answers[1])


def rounding(half: ModelProto) -> ModelProto:
    """An FP16 network for a processor: computes in FP32, and rounds to FP16 whatever a node hands to the next one.

    ONNX Runtime has hardly an FP16 kernel for processors: it would take the casts between the nodes out and compute all
    of it in FP32, so that nothing overflows and only the weights are rounded.
    """
    model = onnx.shape_inference.infer_shapes(half)
    narrow = {value.name for value in model.graph.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        for index, name in enumerate(list(node.output)):
            if name in narrow:
                node.output[index] = f"{name}.whole"
                nodes.append(helper.make_node("Cast", [f"{name}.whole"], [f"{name}.half"], to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    return model


def _session(network: bytes, *, as_written: bool = False) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if as_written:  # casts there and back would be optimised away
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
