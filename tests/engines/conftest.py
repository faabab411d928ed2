"""Tiny real networks, each in a package of its own. Their answers can be said in one line of numpy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.packages.package import ModelPackage, load_package
from engines.plain_yaml import write_yaml
from engines.plans import Built, PlanKey, PlanStore

onnx = pytest.importorskip("onnx", reason="onnx (dev extra) makes the networks of these tests")

TUMOUR = {
    "number": 1,
    "name": "tumour",
    "category": {"value": "49755003", "scheme": "SCT", "meaning": "Morphologically Abnormal Structure"},
    "type": {"value": "108369006", "scheme": "SCT", "meaning": "Neoplasm"},
    "colour": [255, 0, 0],
}
LIVER = TUMOUR | {"number": 2, "name": "liver", "type": {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}}


def manifest(**changes: Any) -> dict[str, Any]:
    """model.yaml of a segmenter with one class; `changes` replace whole keys."""
    return {
        "name": "tiny",
        "version": "1.0.0",
        "task": "segmentation",
        "inputs": [{"name": "image", "shape": ["batch", 3, 32, 32]}],
        "outputs": [{"name": "logits", "shape": ["batch", 1, 32, 32], "activation": "sigmoid", "classes": ["tumour"]}],
        "preprocessing": {"name": "none"},
        "labels": [TUMOUR],
        "training": {"data": [{"name": "none", "licence": "CC0-1.0"}]},
        "intended_use": "Tests.",
        **changes,
    }


def network(nodes: list[Any], inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], **weights: Any) -> bytes:
    """An ONNX file of float32 tensors."""
    from onnx import TensorProto, checker, helper, numpy_helper

    def infos(shapes: dict[str, list[Any]]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", infos(inputs), infos(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """One ONNX operation; tensor names are separated by blanks."""
    from onnx import helper

    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def segmenter() -> bytes:
    """Mean over the channels, times 4."""
    weight = np.full((1, 3, 1, 1), 4 / 3, np.float32)
    return network(
        [node("Conv", "image weight", "logits")],
        {"image": ["batch", 3, 32, 32]},
        {"logits": ["batch", 1, 32, 32]},
        weight=weight,
    )


def unoptimised(model: bytes) -> Any:
    """A network in ONNX Runtime that computes what is written: of INT8 beside FP16 it makes another arithmetic."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def as_written(model: bytes, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a network answers, see `unoptimised`."""
    session = unoptimised(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def two_layers(*, dense: bool = False) -> bytes:
    """Channels weighted, cut off at zero, and summed by a convolution or, after the mean over the image, a layer."""
    rng = np.random.default_rng(3)
    first = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [node("Conv", "image first bias", "inner", pads=[1, 1, 1, 1]), node("Relu", "inner", "positive")]
    weights = {"first": first, "bias": rng.normal(size=4).astype(np.float32)}
    if dense:
        nodes += [node("ReduceMean", "positive axes", "pooled", keepdims=0), node("Gemm", "pooled last", "logits")]
        weights |= {"axes": np.array([2, 3], np.int64), "last": rng.normal(size=(4, 1)).astype(np.float32)}
        return network(nodes, {"image": ["batch", 3, 32, 32]}, {"logits": ["batch", 1]}, **weights)
    nodes.append(node("Conv", "positive last", "logits"))
    weights["last"] = rng.normal(size=(1, 4, 1, 1)).astype(np.float32)
    return network(nodes, {"image": ["batch", 3, 32, 32]}, {"logits": ["batch", 1, 32, 32]}, **weights)


def calibrated(folder: Path, **changes: Any) -> ModelPackage:
    """A package of two layers that brings a calibration; `changes` are of its file."""
    model = two_layers()
    said = {"network": hashlib.sha256(model).hexdigest(), "tool": "by hand", "inputs": 1, "largest": {"image": 1.0}}
    text = json.dumps(said | changes)
    folder.mkdir(parents=True)
    (folder / "calibration.json").write_text(text)
    stated = {"file": "calibration.json", "sha256": hashlib.sha256(text.encode()).hexdigest()}
    content = manifest(calibration=stated, tolerance={"dice": 0.9, "probability": 0.1})
    return load_package(write(folder, content, model, {"image": images(3, 3, 32, 32)}))


def write(folder: Path, content: dict[str, Any], model: bytes, reference: dict[str, np.ndarray] | None = None) -> Path:
    """Puts a package together."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "MODEL_CARD.md").write_text("# Tiny\n")
    content = {"sha256": hashlib.sha256(model).hexdigest()} | content
    if reference is not None:
        np.savez(folder / "reference.npz", **reference)
        content["reference_inputs"] = "reference.npz"
    (folder / "model.yaml").write_text(write_yaml(content))
    return folder


def images(batch: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Normal noise (batch, ...)."""
    return np.random.default_rng(seed).standard_normal((batch, *shape), dtype=np.float32)


def spoil(cache_dir: Path, key: PlanKey, content: bytes = b"no plan at all") -> PlanStore:
    """Puts in a plan's place what the store takes for whole, and the library that reads it will refuse."""
    store = PlanStore(cache_dir)
    store.discard(key, "to put another in its place")
    store.obtain(key, lambda timing: Built(content))
    assert store.read(key) == content
    return store


class Sample:
    """A package with the arrays that suit it and the answer that it must give."""

    def __init__(
        self, package: ModelPackage, feeds: Callable[[int], dict[str, np.ndarray]], answer: Callable[..., Any]
    ) -> None:
        self.package = package
        self.feeds = feeds
        self.answer = answer


def plain_sample(folder: Path) -> Sample:
    package = load_package(write(folder, manifest(), segmenter(), {"image": images(3, 3, 32, 32)}))
    return Sample(
        package, lambda n: {"image": images(n, 3, 32, 32)}, lambda image: {"logits": image.mean(1, keepdims=True) * 4}
    )


def two_inputs_sample(folder: Path) -> Sample:
    """Two inputs, two outputs, a free dimension: a classifier by volume."""
    model = network(
        [node("Sub", "left right", "apart"), node("ReduceMean", "apart axes", "score", keepdims=0)],
        {"left": ["batch", 2, "width"], "right": ["batch", 2, "width"]},
        {"apart": ["batch", 2, "width"], "score": ["batch", 2]},
        axes=np.array([2], np.int64),
    )
    sides = [{"name": name, "shape": ["batch", 2, "width"]} for name in ("left", "right")]
    outputs = [
        {"name": "apart", "shape": ["batch", 2, "width"]},
        {"name": "score", "shape": ["batch", 2], "activation": "softmax", "classes": ["no", "yes"]},
    ]
    content = manifest(name="pair", task="classification", labels=[], inputs=sides, outputs=outputs)

    def answer(left: np.ndarray, right: np.ndarray) -> dict[str, np.ndarray]:
        return {"apart": left - right, "score": (left - right).mean(2)}

    return Sample(
        load_package(write(folder, content, model)),
        lambda n: {"left": images(n, 2, 7), "right": images(n, 2, 7, seed=1)},
        answer,
    )


def volume_sample(folder: Path) -> Sample:
    """A 3D network with three classes."""
    weight = np.zeros((3, 1, 1, 1, 1), np.float32)
    weight[:, 0, 0, 0, 0] = [0, 2, -2]
    model = network(
        [node("Conv", "image weight", "logits")],
        {"image": ["batch", 1, 8, 16, 16]},
        {"logits": ["batch", 3, 8, 16, 16]},
        weight=weight,
    )
    classes = ["background", "tumour", "liver"]
    content = manifest(
        name="volume",
        labels=[TUMOUR, LIVER],
        inputs=[{"name": "image", "shape": ["batch", 1, 8, 16, 16]}],
        outputs=[
            {"name": "logits", "shape": ["batch", 3, 8, 16, 16], "activation": "softmax", "classes": classes},
        ],
    )
    return Sample(
        load_package(write(folder, content, model, {"image": images(2, 1, 8, 16, 16)})),
        lambda n: {"image": images(n, 1, 8, 16, 16)},
        lambda image: {"logits": np.concatenate([image * 0, image * 2, image * -2], axis=1)},
    )


SAMPLES = {"plain": plain_sample, "two_inputs": two_inputs_sample, "volume": volume_sample}


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Sample:
    """Each network in turn."""
    return SAMPLES[request.param](tmp_path / request.param)


@pytest.fixture
def plain(tmp_path: Path) -> Sample:
    """The segmenter, for tests that need any network."""
    return plain_sample(tmp_path / "plain")


@pytest.fixture
def make_package(tmp_path: Path) -> Callable[..., ModelPackage]:
    """`make_package(name, model, reference, **changes of model.yaml)`."""

    def make(
        name: str = "tiny", model: bytes | None = None, reference: dict[str, np.ndarray] | None = None, **changes: Any
    ) -> ModelPackage:
        content = manifest(name=name, **changes)
        return load_package(write(tmp_path / name, content, model or segmenter(), reference))

    return make
