"""INT8 for a GPU, made of a package's own network by its calibration."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from engines.backends.tensorrt import build as tensorrt_build
from engines.backends.tensorrt import int8
from engines.backends.tensorrt.build import network_digest, network_for, offers, require
from engines.backends.tensorrt.fp16 import plain as plainly
from engines.choose import candidates, engines_to_compare
from engines.contract import EngineSettings
from engines.errors import DigestMismatch, PackageInvalid, PrecisionMissing
from engines.gate import agreement, reference_feeds
from engines.packages.package import find_packages, load_package, shipped_folder
from tests.engines.conftest import as_written, calibrated, images, manifest, network, node, segmenter, two_layers, write

PACKAGES = find_packages(shipped_folder())
CALIBRATED = [name for name, package in PACKAGES.items() if package.manifest.calibration]


@pytest.fixture(autouse=True)
def _nothing_was_tried(monkeypatch):
    monkeypatch.setattr(tensorrt_build, "_unconvertible", {})


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
    onnx.checker.check_model(onnx.load_from_string(network_for(package, "int8")), full_check=True)  # sorted, too
    assert {kinds[each.input[2]].data_type for each in convolutions if len(each.input) > 2} <= {TensorProto.FLOAT16}
    for each in graph.node:
        if each.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            assert not numpy_helper.to_array(kinds[each.input[2]]).any()  # symmetric
            assert kinds[each.input[1]].data_type == TensorProto.FLOAT16
    assert {tensor.type.tensor_type.elem_type for tensor in (*graph.input, *graph.output)} == {1}


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_shipped_network_in_int8_passes_the_gate_as_it_is_written(name):
    package = PACKAGES[name]
    feeds = {key: array[:1] for key, array in reference_feeds(package).items()}
    found = agreement(
        package.manifest, as_written(network_for(package, "int8"), feeds), as_written(package.network(), feeds)
    )
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
    expected = as_written(whole.SerializeToString(), {"image": coarse.astype(np.float32)})["logits"]
    exact = int8.quantised(plainly(onnx.load_from_string(model)), {"image": reach}).SerializeToString()
    np.testing.assert_allclose(as_written(exact, {"image": image})["logits"], expected, atol=0.01)
    served = as_written(int8.in_eight_bits(model, {"image": reach}), {"image": image})["logits"]
    assert (np.abs(served - expected) > 0.01).mean() < 0.05  # a scale in FP16 rounds a value here and there otherwise
    assert np.abs(expected - as_written(model, {"image": image})["logits"]).max() > 0.1


def test_the_last_convolution_stays_unless_a_dense_layer_answers():
    for dense, total in ((False, 2), (True, 1)):
        model = plainly(onnx.load_from_string(two_layers(dense=dense)))
        assert [each.name for each in int8.convolutions(model)] == ["Conv.0"]
        assert sum(each.op_type == "Conv" for each in model.graph.node) == total


def test_a_last_convolution_that_shares_what_it_reads_stays_as_it_is():
    """Its input and its weights are also those of one that is in eight bits."""
    nodes = [node("Conv", "image weight", "inner"), node("Relu", "inner", "positive")]
    nodes += [node("Conv", "positive last", "one"), node("Conv", "image weight", "other"), node("Neg", "other", "two")]
    weights = {"weight": np.float32([[[[0.3]]], [[[-0.7]]]]), "last": np.float32([[[[1.0]], [[1.0]]]])}
    shape = ["batch", 1, 8, 8]
    model = network(nodes, {"image": shape}, {"one": shape, "two": ["batch", 2, 8, 8]}, **weights)
    image = images(2, 1, 8, 8)
    exact = int8.quantised(plainly(onnx.load_from_string(model)), {"image": 4.0}).SerializeToString()
    found, expected = as_written(exact, {"image": image}), as_written(model, {"image": image})
    np.testing.assert_array_equal(found["two"], expected["two"])
    assert np.abs(found["one"] - expected["one"]).max() > 1e-4
    served = as_written(int8.in_eight_bits(model, {"image": 4.0}), {"image": image})
    np.testing.assert_allclose(served["two"], expected["two"], atol=5e-3)


def test_small_weights_lose_nothing_by_scales_in_16_bits():
    """Of a scale of 2e-6, FP16 knows two digits."""
    nodes = [node("Conv", "image weight", "inner"), node("Mul", "inner factor", "large")]
    nodes.append(node("Conv", "large last", "logits"))
    small = np.float32([[[[1e-4]], [[-2.31e-4]], [[0.5e-4]]], [[[1.0]], [[0.5]], [[-0.25]]]])
    weights = {"weight": small, "factor": np.float32([1e3, 1.0]).reshape(1, 2, 1, 1)}
    weights["last"] = np.ones((1, 2, 1, 1), np.float32)
    model = network(nodes, {"image": ["batch", 3, 8, 8]}, {"logits": ["batch", 1, 8, 8]}, **weights)
    graph = onnx.load_from_string(int8.in_eight_bits(model, {"image": 4.0})).graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (scales, steps) = next(
        (tensors[each.input[1]], tensors[each.input[0]]) for each in graph.node if each.input[0] in tensors
    )
    scales = scales.astype(np.float64).reshape(-1, 1, 1, 1)
    assert (np.abs(steps * scales - small) <= scales * 0.5001).all()
    assert np.abs(steps).max(axis=(1, 2, 3)).min() > 120  # all of the eight bits are used


@pytest.mark.parametrize("opset", [11, 18, 20])
def test_networks_of_any_opset_are_converted(opset):
    from onnx import helper

    model = onnx.load_from_string(two_layers())
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    if opset >= 20:
        next(each for each in model.graph.node if each.op_type == "Relu").op_type = "Gelu"
    image = {"image": images(2, 3, 32, 32)}
    expected = as_written(model.SerializeToString(), image)["logits"]
    found = as_written(int8.in_eight_bits(model.SerializeToString(), {"image": 4.0}), image)["logits"]
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_a_network_without_such_a_convolution_is_refused_in_words():
    with pytest.raises(ValueError, match="no convolution that another one or a dense layer comes after"):
        int8.in_eight_bits(segmenter(), {"image": 1.0})
    nodes = [
        node("Identity", "weight", "same"),
        node("Conv", "image same", "inner"),
        node("Conv", "inner weight", "logits"),
    ]
    one = np.ones((1, 1, 1, 1), np.float32)
    shape = ["batch", 1, 8, 8]
    computed = network(nodes, {"image": shape}, {"logits": shape}, weight=one)
    assert int8.convolutions(plainly(onnx.load_from_string(computed))) == []


def test_it_serves_only_where_it_is_named_and_is_compared_all_the_same(tmp_path):
    package = calibrated(tmp_path / "tiny")

    def order(engines):
        return [(engine.backend, engine.settings.precision) for engine in engines if engine.backend == "tensorrt"]

    assert order(candidates(package, EngineSettings())) == [("tensorrt", "fp16"), ("tensorrt", "fp32")]
    compared = engines_to_compare(package, EngineSettings())
    assert order(compared) == [("tensorrt", "fp16"), ("tensorrt", "fp32"), ("tensorrt", "int8")]
    assert order(engines_to_compare(package, EngineSettings(backend="openvino"))) == []
    assert len({(engine.backend, engine.settings.precision) for engine in compared}) == len(compared)
    named = candidates(package, EngineSettings(backend="tensorrt", precision="int8"))
    assert order(named) == order(engines_to_compare(package, named[0].settings)) == [("tensorrt", "int8")]


def test_the_calibration_of_another_network_is_refused(tmp_path):
    with pytest.raises(PackageInvalid, match=r"calibration\.json: network: it is of the network 000000000000, not"):
        calibrated(tmp_path / "other", network="0" * 64)
    package = calibrated(tmp_path / "lacking", largest={"picture": 1.0})
    with pytest.raises(PrecisionMissing, match=r"tiny cannot be converted \(KeyError: 'image'\)"):
        network_for(package, "int8")
    assert not offers(package, "int8")
    assert offers(package, "fp16")
    assert offers(calibrated(tmp_path / "right"), "int8")  # the same network


@pytest.mark.parametrize("wrong", [{"largest": {"image": -1.0}}, {"largest": {}}, {"largest": None}, {"more": 1}])
def test_a_calibration_that_says_nonsense_is_refused(tmp_path, wrong):
    with pytest.raises(PackageInvalid, match=rf"calibration\.json: {next(iter(wrong))}"):
        calibrated(tmp_path / "tiny", **wrong)


def test_a_calibration_that_is_missing_or_damaged_is_refused(tmp_path):
    package = calibrated(tmp_path / "tiny")
    (package.folder / "calibration.json").write_text("{}")
    with pytest.raises(DigestMismatch, match=r"calibration\.sha256"):
        load_package(package.folder)
    with pytest.raises(PrecisionMissing, match=r"calibration\.json: its sha256 is"):
        network_for(package, "int8")
    (package.folder / "calibration.json").unlink()
    with pytest.raises(PrecisionMissing, match="No such file"):
        network_for(package, "int8")
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
    for tool in ("onnxruntime", "onnx", "onnxconverter-common"):
        assert re.search(rf"\b{tool} \d+\.\d+", network_digest(one, "int8"))
    assert network_digest(one, "fp16") == network_digest(other, "fp16")
    assert offers(load_package(write(tmp_path / "none", manifest(), segmenter())), "int8") is False
