"""A package that exists, with its weights in 16 bits."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs the `train` extra")

from engines.backends.tensorrt.fp16 import widened
from engines.gate import reference_feeds
from engines.packages.package import load_package
from tests.training.conftest import CLASSIFIER, untouched
from training.cli import app
from training.package.manifest import write_reference
from training.package.network import ask_onnx
from training.package.rewrite import edit_manifest
from training.package.sixteen_bits import SMALLEST


@pytest.fixture
def classifier(classifier):
    """In FP32, with weights that 16 bits cannot say."""
    model = widened(onnx.load(classifier / "model.onnx"))
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor) * np.float32(1 + 1e-4)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, classifier / "model.onnx")
    digest = hashlib.sha256((classifier / "model.onnx").read_bytes()).hexdigest()
    edit_manifest(classifier, sha256=digest, variants={}, calibration=None)
    state(classifier, value=0.0, ci95=[0.0, 0.1])
    return classifier


def state(folder, **changes):
    """Other figures in model.yaml than were measured."""
    accuracy = edit_manifest(folder)["accuracy"]
    edit_manifest(folder, accuracy=[one | changes for one in accuracy])


def run(folder, data, *options):
    return CliRunner().invoke(app, ["export", "--variants", str(folder), "--compact", "--data", str(data), *options])


def refused(folder, data, version, words):
    with untouched(folder):
        result = run(folder, data, "--version", version)
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())


def test_half_the_file_and_the_same_answers(classifier, tiny_lgg):
    before, size = load_package(classifier), (classifier / "model.onnx").stat().st_size
    feeds = reference_feeds(before)
    name = before.manifest.inputs[0].name
    answers = ask_onnx(before.network(), feeds[name])
    result = run(classifier, tiny_lgg, "--version", "9.1.0")
    assert result.exit_code == 0, result.output
    package = load_package(classifier)
    assert package.version == "9.1.0"
    assert package.card.startswith(f"# {CLASSIFIER} 9.1.0\n")
    assert package.digest != before.digest
    assert package.manifest.training.model_extra["compact"] is True
    assert (classifier / "model.onnx").stat().st_size < 0.6 * size
    weights = onnx.load(classifier / "model.onnx").graph.initializer
    large = [one for one in weights if len(one.dims) > 1 and np.prod(one.dims) >= SMALLEST]
    assert {one.data_type for one in large} == {TensorProto.FLOAT16}
    np.testing.assert_allclose(ask_onnx(package.network(), feeds[name]), answers, atol=0.02)
    np.testing.assert_array_equal(reference_feeds(package)[name], feeds[name])
    assert {one.n for one in package.manifest.accuracy} == {12}  # measured anew: two patients of six slices
    assert not (classifier / "calibration.json").exists()
    assert not list(classifier.glob("model.*.zip"))
    for title in ("INT8", "INT8 on a GPU"):
        assert "None: what there was had been made of" in package.card.split(f"## {title}\n")[1].split("## ")[0]

    refused(classifier, tiny_lgg, "9.2.0", "keeps its weights in 16 bits already")


def test_what_costs_too_much_leaves_the_package_alone(classifier, tiny_lgg):
    state(classifier, value=1.5)
    refused(classifier, tiny_lgg, "9.1.0", "stays as it is: tumour: AUC by slice would be")


def test_other_weights_want_another_version(classifier, tiny_lgg):
    result = run(classifier, tiny_lgg)
    assert result.exit_code == 2
    assert "expected --version" in result.output


def test_reference_inputs_are_packed_and_the_same(tmp_path):
    row = np.round(np.random.default_rng(1).normal(size=(1, 1, 64, 64)) * 16).astype(np.float32) / 16
    slices = np.tile(row, (4, 5, 1, 1))  # neighbours repeat each other
    write_reference(tmp_path, {"image": slices})
    first = (tmp_path / "reference.npz").read_bytes()
    write_reference(tmp_path, {"image": slices})
    assert (tmp_path / "reference.npz").read_bytes() == first
    with np.load(tmp_path / "reference.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["image"], slices)
    np.savez_compressed(tmp_path / "theirs.npz", image=slices)
    assert len(first) < (tmp_path / "theirs.npz").stat().st_size
