"""INT8 for a GPU, made of a package's own network by its calibration."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from engines import int8, tensorrt_build
from engines.choose import candidates
from engines.contract import EngineSettings
from engines.errors import DigestMismatch, PackageInvalid, PrecisionMissing
from engines.gate import agreement, reference_feeds
from engines.half import plain as plainly
from engines.package import find_packages, load_package, shipped_folder
from engines.tensorrt_build import network_digest, network_for, offers, require

from .conftest import calibrated, images, manifest, segmenter, two_layers, write

PACKAGES = find_packages(shipped_folder())
CALIBRATED = [name for name, package in PACKAGES.items() if package.manifest.calibration]


@pytest.fixture(autouse=True)
def _nothing_was_tried(monkeypatch):
    monkeypatch.setattr(tensorrt_build, "_unconvertible", {})


def answer(model: bytes, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As it is written: what ONNX Runtime puts in the place of such networks answers wrongly."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def test_every_shipped_network_has_a_calibration():
    assert sorted(CALIBRATED) == sorted(PACKAGES)


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_shipped_network_in_int8_is_what_tensorrt_wants(name):
    package = PACKAGES[name]
    graph = onnx.load_from_string(network_for(package, "int8")).graph
    made_by = {output: each for each in graph.node for output in each.output}
    kinds = {tensor.name: tensor for tensor in graph.initializer}
    convolutions = [each for each in graph.node if each.op_type == "Conv"]
    sources = [[made_by[one].op_type for one in each.input[:2] if one in made_by] for each in convolutions]
    eight = [one for one in sources if one == ["DequantizeLinear", "DequantizeLinear"]]
    plain = plainly(onnx.load_from_string(package.network()))
    assert len(eight) == len(int8.convolutions(plain)) > 0
    floating = {one.input[1] for one in convolutions if one.input[1] in kinds}
    assert len(floating) <= 2  # the last layers' weights, one per network
    for each in graph.node:
        if each.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            assert not numpy_helper.to_array(kinds[each.input[2]]).any()  # symmetric
            assert kinds[each.input[1]].data_type == onnx.TensorProto.FLOAT16
    assert {tensor.type.tensor_type.elem_type for tensor in (*graph.input, *graph.output)} == {1}


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_shipped_network_in_int8_passes_the_gate_as_it_is_written(name):
    package = PACKAGES[name]
    feeds = {key: array[:1] for key, array in reference_feeds(package).items()}
    found = agreement(package.manifest, answer(network_for(package, "int8"), feeds), answer(package.network(), feeds))
    assert found.problems(package.manifest.tolerance) == ()
    assert found.max_difference > 0


def test_the_arithmetic_is_that_of_eight_bits():
    model, image = two_layers(), images(2, 3, 32, 32)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(model).graph.initializer}
    scales = np.abs(weights["first"]).max(axis=(1, 2, 3), keepdims=True) / 127
    reach = 0.5  # less than the largest value: what is beyond is cut off
    coarse = np.clip(np.rint(image / (reach / 127)), -128, 127) * (reach / 127)
    whole = onnx.load_from_string(model)
    for tensor in whole.graph.initializer:
        if tensor.name == "first":
            tensor.CopyFrom(numpy_helper.from_array(np.rint(weights["first"] / scales) * scales, "first"))
    expected = answer(whole.SerializeToString(), {"image": coarse.astype(np.float32)})["logits"]
    exact = int8.quantised(plainly(onnx.load_from_string(model)), {"image": reach}).SerializeToString()
    np.testing.assert_allclose(answer(exact, {"image": image})["logits"], expected, rtol=1e-4, atol=1e-4)
    served = answer(int8.in_eight_bits(model, {"image": reach}), {"image": image})["logits"]
    assert (np.abs(served - expected) > 0.01).mean() < 0.05  # a scale in FP16 rounds a value here and there otherwise
    assert np.abs(expected - answer(model, {"image": image})["logits"]).max() > 0.1


@pytest.mark.parametrize(("dense", "first"), [(False, ["Conv.0"]), (True, ["Conv.0"])])
def test_the_last_convolution_stays_unless_a_dense_layer_answers(dense, first):
    model = plainly(onnx.load_from_string(two_layers(dense=dense)))
    assert [each.name for each in int8.convolutions(model)] == first
    assert sum(each.op_type == "Conv" for each in model.graph.node) == (1 if dense else 2)


def test_tensorrt_tries_it_last_and_whoever_names_it_gets_it(tmp_path):
    package = calibrated(tmp_path / "tiny")
    order = [(engine.backend, engine.settings.precision) for engine in candidates(package, EngineSettings())]
    assert order[:3] == [("tensorrt", "fp16"), ("tensorrt", "fp32"), ("tensorrt", "int8")]
    assert ("openvino", "int8") not in order
    named = candidates(package, EngineSettings(backend="tensorrt", precision="int8"))
    assert [engine.settings.precision for engine in named] == ["int8"]


def test_the_calibration_of_another_network_is_refused(tmp_path):
    with pytest.raises(PackageInvalid, match=r"calibration\.json: network: it is of the network 000000000000, not"):
        calibrated(tmp_path / "other", network="0" * 64)
    package = calibrated(tmp_path / "lacking", largest={"picture": 1.0})
    with pytest.raises(PrecisionMissing, match=r"tiny cannot be converted \(KeyError: 'image'\)"):
        network_for(package, "int8")
    assert not offers(package, "int8")
    assert offers(package, "fp16")


@pytest.mark.parametrize("wrong", [{"largest": {"image": -1.0}}, {"largest": {}}, {"largest": None}, {"more": 1}])
def test_a_calibration_that_says_nonsense_is_refused(tmp_path, wrong):
    with pytest.raises(PackageInvalid, match=rf"calibration\.json: {next(iter(wrong))}"):
        calibrated(tmp_path / "tiny", **wrong)


def test_a_calibration_that_is_missing_or_damaged_is_refused(tmp_path):
    package = calibrated(tmp_path / "tiny")
    (package.folder / "calibration.json").write_text("{}")
    with pytest.raises(DigestMismatch, match=r"calibration\.sha256"):
        load_package(package.folder)
    with pytest.raises(DigestMismatch):
        network_for(package, "int8")
    (package.folder / "calibration.json").unlink()
    with pytest.raises(PackageInvalid, match=r"calibration\.file"):
        load_package(package.folder)


def test_without_a_calibration_or_the_converter_it_is_refused_with_a_remedy(plain, tmp_path, monkeypatch):
    with pytest.raises(PrecisionMissing, match="brings no int8 variant"):
        require(plain.package, "int8")
    monkeypatch.setattr(tensorrt_build, "can_halve", lambda: False)
    with pytest.raises(PrecisionMissing, match=r"pip install 'scanward\[gpu\]'"):
        require(calibrated(tmp_path / "tiny"), "int8")


def test_a_plan_is_of_its_calibration(tmp_path):
    one, other = (calibrated(tmp_path / str(reach), largest={"image": reach}) for reach in (1.0, 2.0))
    assert one.digest == other.digest
    assert network_digest(one, "int8") != network_digest(other, "int8")
    assert network_digest(one, "fp16") == network_digest(other, "fp16")
    assert offers(load_package(write(tmp_path / "none", manifest(), segmenter())), "int8") is False
