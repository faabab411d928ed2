"""The FP16 variant of a package's network, and whether it may be in the package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import structlog
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engines.gate import Agreement, agreement, reference_feeds
from engines.half import plain, to_half
from engines.package import ModelPackage, load_package
from training.package.rewrite import edit_card, edit_manifest, variants_without

log = structlog.get_logger(__name__)

FILE = "model.fp16.onnx"
SECTION = "FP16"


class VariantRefusedError(ArithmeticError):
    """{package}: no FP16 variant, {reason}."""

    def __init__(self, package: str, reason: str) -> None:
        super().__init__(f"{package}: no FP16 variant, {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Half:
    """An FP16 network that answers as the FP32 one does.

    Attributes:
        model: The network; inputs and outputs are still FP32.
        found: How its answers to the reference inputs compare, on ONNX Runtime.
        in_full: What was kept in FP32 for that, in words; empty if nothing but normalisations that compute statistics.
    """

    model: ModelProto
    found: Agreement
    in_full: str = ""

    def __str__(self) -> str:
        kept = f"; {self.in_full} kept in FP32" if self.in_full else ""
        return (
            "On the reference inputs, every tensor rounded to FP16, held against FP32 by ONNX Runtime: "
            f"{in_words(self.found, '.1e')}{kept}"
        )


def in_words(found: Agreement, digits: str = ".3f") -> str:
    """How a card says what the gate's comparison found."""
    dice = "" if found.least_dice is None else f"least Dice of a mask {found.least_dice:.4f}, "
    return f"{dice}largest difference of a probability {found.max_difference:{digits}}"


def make_half(package: ModelPackage) -> Half:
    """Converts a package's network, keeping in FP32 what the gate's criteria ask for, and no more.

    Tried in this order: everything in FP16; the last layer in FP32; the batch norms as well.

    Raises:
        VariantRefusedError: Even that answers differently, or cannot be converted.
    """
    model = plain(onnx.load_from_string(package.network()))
    reason = "nothing was tried"
    for in_full, words in _attempts(model):
        try:
            half = to_half(model, in_full)
            found = compare(package, half)
        except Exception as error:  # the converter, the checker and ONNX Runtime raise what they like
            raise VariantRefusedError(package.name, f"{type(error).__name__}: {error}") from error
        problems = found.problems(package.manifest.tolerance)
        if not problems:
            return Half(half, found, words)
        reason = "; ".join(problems)
        log.info("fp16_differs", package=package.name, in_full=words or "nothing", reason=reason)
    raise VariantRefusedError(package.name, reason)


def _attempts(model: ModelProto) -> list[tuple[frozenset[str], str]]:
    last = frozenset({_last_layer(model).name})
    norms = frozenset(node.name for node in model.graph.node if node.op_type == "BatchNormalization")
    attempts = [(frozenset[str](), ""), (last, "the last layer")]
    return [*attempts, (last | norms, "the last layer and the batch norms")] if norms else attempts


def _last_layer(model: ModelProto) -> NodeProto:
    weighted = [node for node in model.graph.node if node.op_type in {"Conv", "ConvTranspose", "Gemm", "MatMul"}]
    return weighted[-1] if weighted else model.graph.node[-1]


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


def write_half(package: ModelPackage) -> tuple[dict[str, Any], str]:
    """Writes `model.fp16.onnx` into the package's folder, if the gate's criteria allow.

    Returns:
        (`variants` of model.yaml, with or without the FP16 one; what the card says of it).
    """
    variants = variants_without(package, "fp16")
    path = package.folder / FILE
    try:
        half = make_half(package)
    except VariantRefusedError as refused:
        log.warning("fp16_refused", package=package.name, reason=refused.reason)
        path.unlink(missing_ok=True)
        return variants, f"None: {refused.reason}."
    network = half.model.SerializeToString()
    path.write_bytes(network)
    variants["fp16"] = {"file": FILE, "sha256": hashlib.sha256(network).hexdigest()}
    sizes = f"{len(network) / 1e6:.1f} MB beside {len(package.network()) / 1e6:.1f} MB"
    return variants, f"`{FILE}`, {sizes}. {half}."


def add_half(folder: Path) -> ModelPackage:
    """Adds the FP16 variant to a package that has none, or makes it anew: file, entry in model.yaml, word in the card.

    Where it is refused, the card says why, and the package has none.
    """
    variants, words = write_half(load_package(folder))
    edit_manifest(folder, variants=variants)
    edit_card(folder, SECTION, words)
    return load_package(folder)
