"""What a network in FP16 answers, every tensor rounded, beside what the package does."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest

from engines.plain_yaml import read_yaml, write_yaml

onnx = pytest.importorskip("onnx", reason="training needs the `train` extra")
pytest.importorskip("onnxconverter_common", reason="training needs the `train` extra")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from engines.backends.tensorrt.fp16 import halved, to_half  # noqa: E402
from engines.errors import BackendMissing  # noqa: E402
from engines.libraries import import_tensorrt  # noqa: E402
from engines.packages.package import find_packages, load_package, shipped_folder  # noqa: E402
from training.package.agreement import compare  # noqa: E402
from training.package.card import with_section  # noqa: E402


@pytest.fixture
def segmenter(tmp_path):
    folder = tmp_path / "abdomen-liver-unet"
    shutil.copytree(shipped_folder() / folder.name, folder)
    return folder


@pytest.mark.parametrize("name", find_packages(shipped_folder()))
def test_every_shipped_network_passes_the_gate_with_every_tensor_rounded(name):
    package = load_package(shipped_folder() / name)
    found = compare(package, onnx.load_from_string(halved(package.network())))
    assert found.max_difference > 0
    assert found.problems(package.manifest.tolerance) == ()


def test_the_weights_and_the_upsampling_are_in_fp16_and_only_the_doors_cast(segmenter):
    model = onnx.load_from_string(halved(load_package(segmenter).network()))
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert {weights[node.input[1]] for node in model.graph.node if node.op_type == "Conv"} == {TensorProto.FLOAT16}
    doors = {tensor.name for tensor in (*model.graph.input, *model.graph.output)}
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert all(doors & {node.input[0], node.output[0]} for node in casts)
    assert doors == {name for node in casts for name in (node.input[0], node.output[0])} & doors
    assert {weights[node.input[2]] for node in model.graph.node if node.op_type == "Resize"} == {TensorProto.FLOAT}
    assert {tensor.type.tensor_type.elem_type for tensor in (*model.graph.input, *model.graph.output)} == {1}


def test_tensorrt_reads_it_as_a_network_in_fp16(segmenter):
    try:
        trt = import_tensorrt()
    except BackendMissing as error:
        pytest.skip(str(error))
    network = halved(load_package(segmenter).network())
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, trt.Logger(trt.Logger.ERROR))
    assert parser.parse(network), [parser.get_error(index).desc() for index in range(parser.num_errors)]
    layers = [definition.get_layer(index).get_output(0).dtype for index in range(definition.num_layers)]
    assert layers.count(trt.float32) == 1  # the answer, cast back
    assert layers.count(trt.float16) > 50


def overflowing(folder, shape):
    """A network whose inner values leave FP16's range, which its weights do not: times 30000, divided by it again."""
    scales = [numpy_helper.from_array(np.float32(value), name) for name, value in (("up", 3e4), ("down", 1 / 3e4))]
    nodes = [
        helper.make_node("Mul", ["image", "up"], ["large"]),
        helper.make_node("Mul", ["large", "down"], ["logits"]),
    ]
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name in ("image", "logits")
    ]
    graph = helper.make_graph(nodes, "tiny", tensors[:1], tensors[1:], scales)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    network = model.SerializeToString()
    (folder / "model.onnx").write_bytes(network)
    content = read_yaml((folder / "model.yaml").read_text())
    content["sha256"] = hashlib.sha256(network).hexdigest()
    content.pop("calibration", None)  # of the network before
    content["inputs"][0].update(shape=["batch", *shape], channels=[{"name": "a"}, {"name": "b"}])
    content["outputs"][0]["shape"] = ["batch", *shape]
    (folder / "model.yaml").write_text(write_yaml(content))
    values = 10 * np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    np.savez(folder / "reference.npz", image=values)


def test_what_overflows_in_fp16_is_seen(segmenter):
    overflowing(segmenter, (2, 16, 16))
    package = load_package(segmenter)
    assert compare(package, onnx.load_from_string(halved(package.network()))).problems(package.manifest.tolerance)


def test_statistics_of_a_whole_image_stay_in_fp32():
    names = ("image", "scale", "bias")
    node = helper.make_node("InstanceNormalization", list(names), ["out"], name="norm")
    shapes = {"image": ["batch", 4, 8, 8], "out": ["batch", 4, 8, 8]}
    tensors = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    weights = [numpy_helper.from_array(np.ones(4, np.float32), name) for name in names[1:]]
    graph = helper.make_graph([node], "tiny", [tensors["image"]], [tensors["out"]], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    assert {tensor.data_type for tensor in to_half(model).graph.initializer} == {TensorProto.FLOAT}


def test_a_section_of_a_card_is_replaced_where_it_stands():
    card = with_section(with_section("# A\n\ntext\n", "FP16", "one"), "More", "two")
    assert card == "# A\n\ntext\n\n## FP16\n\none\n\n## More\n\ntwo\n"
    assert with_section(card, "FP16", "three") == "# A\n\ntext\n\n## FP16\n\nthree\n\n## More\n\ntwo\n"
