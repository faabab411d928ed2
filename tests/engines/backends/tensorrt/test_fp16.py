"""FP16 for a GPU, made of a package's own network where the package brings no such variant."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.backends.tensorrt import build as tensorrt_build
from engines.backends.tensorrt.build import network_for, offers, require
from engines.backends.tensorrt.fp16 import halved, widened
from engines.errors import DigestMismatch, PrecisionMissing
from engines.packages.package import find_packages, shipped_folder
from tests.engines.conftest import images, network, node

PACKAGES = find_packages(shipped_folder())


@pytest.fixture(autouse=True)
def _nothing_was_tried(monkeypatch):
    monkeypatch.setattr(tensorrt_build, "_unconvertible", {})


def answer(model: bytes, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_shipped_network_is_fp16_from_door_to_door(name):
    package = PACKAGES[name]
    half = onnx.load_from_string(network_for(package, "fp16"))
    whole = widened(onnx.load_from_string(package.network()))
    assert half.ByteSize() < 0.6 * whole.ByteSize()
    inputs_and_outputs = {tensor.name for tensor in (*half.graph.input, *half.graph.output)}
    casts = [each for each in half.graph.node if each.op_type == "Cast"]
    assert len(casts) <= 8
    assert {name for each in casts for name in (*each.input, *each.output)} >= inputs_and_outputs
    assert {tensor.type.tensor_type.elem_type for tensor in (*half.graph.input, *half.graph.output)} == {1}


def upsampling(*, constant: bool) -> bytes:
    """Half the size, and twice that, as PyTorch writes it: scales as constant nodes, or as weights of two uses."""
    sizes = {"up": [1.0, 1.0, 2.0, 2.0], "down": [1.0, 1.0, 0.5, 0.5]}
    nodes = [node("Resize", "image  down", "small"), node("Resize", "small  up", "large")]
    for each, scales in zip(nodes, ("down", "up"), strict=True):
        del each.input[:]
        each.input.extend(["image" if scales == "down" else "small", "", scales])
    nodes.append(node("Mul", "large factor", "logits"))
    weights = {"factor": np.full((1,), 0.75, np.float32)}
    if constant:
        tensors = {name: numpy_helper.from_array(np.float32(values)) for name, values in sizes.items()}
        nodes = [*(helper.make_node("Constant", [], [name], value=value) for name, value in tensors.items()), *nodes]
    else:
        weights |= {name: np.float32(values) for name, values in sizes.items()}
        nodes.append(node("ReduceSum", "up", "sum", keepdims=0))
        nodes[2] = node("Mul", "large factor", "product")
        nodes.append(node("Mul", "product sum", "logits"))
    return network(nodes, {"image": ["batch", 1, 8, 8]}, {"logits": ["batch", 1, 8, 8]}, **weights)


@pytest.mark.parametrize("constant", [True, False], ids=["constants", "shared weight"])
def test_scales_stay_in_fp32_however_they_are_written(constant):
    model, image = upsampling(constant=constant), images(2, 1, 8, 8)
    half = halved(model)
    np.testing.assert_allclose(answer(half, image), answer(model, image), rtol=2e-3, atol=2e-3)
    graph = onnx.load_from_string(half).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert {kinds[each.input[2]] for each in graph.node if each.op_type == "Resize"} == {TensorProto.FLOAT}


def test_nodes_without_names_that_share_an_input_are_converted():
    nodes = [node("Relu", "image", "left"), node("Sigmoid", "image", "right"), node("Add", "left right", "logits")]
    model = network(nodes, {"image": ["batch", 3]}, {"logits": ["batch", 3]})
    image = images(2, 3)
    np.testing.assert_allclose(answer(halved(model), image), answer(model, image), atol=2e-3)


def test_without_the_converter_it_is_refused_with_a_remedy(plain, monkeypatch):
    assert offers(plain.package, "fp16")
    monkeypatch.setattr(tensorrt_build, "can_halve", lambda: False)
    assert not offers(plain.package, "fp16")
    with pytest.raises(PrecisionMissing, match=r"onnxconverter-common is not installed: pip install 'scanward\[gpu\]'"):
        require(plain.package, "fp16")


def test_a_network_that_cannot_be_converted_is_refused_in_words_and_tried_once(plain, monkeypatch):
    tried = []

    def broken(model: bytes) -> bytes:
        tried.append(model)
        raise ValueError("no such operation")

    monkeypatch.setattr(tensorrt_build, "halved", broken)
    for _ in range(2):
        with pytest.raises(PrecisionMissing, match=r"tiny cannot be converted \(ValueError: no such operation\)"):
            network_for(plain.package, "fp16")
    assert not offers(plain.package, "fp16")
    assert len(tried) == 1


def test_a_damaged_package_is_not_taken_for_one_that_cannot_be_converted(plain):
    (plain.package.folder / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(DigestMismatch):
        network_for(plain.package, "fp16")
