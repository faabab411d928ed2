"""Rewriting keeps the answers: the same network through ONNX Runtime, which knows nothing of it."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from engines.backends.openvino.engine import OpenVinoEngine
from engines.backends.openvino.rewrites import fold_unshuffles, gather_flips, rewrite
from engines.contract import EngineSettings
from engines.libraries import import_openvino
from tests.engines.conftest import images, network, node

HEIGHT, WIDTH, CHANNELS, FOUND = 12, 24, 3, 5


def unshuffled(block: int = 2, kernel=(3, 3), outputs=None, tail=(), perm=(0, 1, 3, 5, 2, 4), **attributes) -> bytes:
    """Unshuffle, then two convolutions: one as `kernel` and the attributes say, one of 1 x 1."""
    rows, columns, deep = HEIGHT // block, WIDTH // block, CHANNELS * block**2
    random = np.random.default_rng(0)
    return network(
        [
            node("Reshape", "image apart", "cut"),
            node("Transpose", "cut", "turned", perm=list(perm)),
            node("Reshape", "turned together", "blocks"),
            node("Conv", "blocks weight", "wide", **attributes),
            node("Conv", "blocks narrow", "small"),
            *tail,
        ],
        {"image": ["batch", CHANNELS, HEIGHT, WIDTH]},
        outputs or {"wide": ["batch", FOUND, None, None], "small": ["batch", FOUND, rows, columns]},
        apart=np.array([-1, CHANNELS, rows, block, columns, block]),
        together=np.array([-1, deep, rows, columns]),
        weight=random.standard_normal((FOUND, deep, *kernel), dtype=np.float32),
        narrow=random.standard_normal((FOUND, deep, 1, 1), dtype=np.float32),
    )


def compiled(model: bytes, rewriting=fold_unshuffles):
    """The network for one sample, how many of its parts were replaced, and its answers."""
    core = import_openvino().Core()
    read = core.read_model(model)
    read.reshape({"image": [1, CHANNELS, HEIGHT, WIDTH]})
    replaced = rewriting(read)
    request = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    feeds = {"image": images(1, CHANNELS, HEIGHT, WIDTH)}
    answers = [array.copy() for array in request.infer(feeds).values()]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return read, replaced, answers, session.run(None, feeds)


def kinds(model) -> list[str]:
    return [operation.get_type_name() for operation in model.get_ordered_ops()]


@pytest.mark.parametrize("block", [2, 3])
@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ((3, 3), {"pads": [1, 1, 1, 1]}),
        ((3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ((1, 3), {"pads": [0, 2, 0, 1], "strides": [1, 2]}),
        ((2, 2), {}),
    ],
    ids=["same", "strided", "lopsided", "even"],
)
def test_an_unshuffle_is_folded_and_the_answers_stay(block, kernel, attributes):
    model, replaced, answers, expected = compiled(unshuffled(block, kernel, **attributes))
    assert replaced == 2
    assert "Transpose" not in kinds(model)
    for ours, theirs in zip(answers, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


SPREAD = {"wide": ["batch", FOUND, None, None], "small": ["batch", FOUND, None, None]}
ELSEWHERE = {**SPREAD, "seen": ["batch", CHANNELS * 4, HEIGHT // 2, WIDTH // 2]}


@pytest.mark.parametrize(
    "options",
    [
        {"dilations": [2, 2]},
        {"auto_pad": "SAME_UPPER"},
        {"tail": [node("Relu", "blocks", "seen")], "outputs": ELSEWHERE},
        {"perm": (0, 3, 5, 1, 2, 4)},
    ],
    ids=["dilated", "padded by rule", "read by others", "another order of channels"],
)
def test_what_is_something_else_is_left_alone(options):
    model, replaced, answers, expected = compiled(unshuffled(**({"outputs": SPREAD} | options)))
    assert replaced == 0
    assert "Transpose" in kinds(model)
    for ours, theirs in zip(answers, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_engine_compiles_the_folded_network(make_package, monkeypatch):
    from engines.backends.openvino import engine as openvino_engine

    found = []

    def rewritten(model):
        rewrite(model)
        found.append("Transpose" in kinds(model))

    monkeypatch.setattr(openvino_engine, "rewrite", rewritten)
    rows, columns = HEIGHT // 2, WIDTH // 2
    package = make_package(
        model=unshuffled(pads=[1, 1, 1, 1]),
        inputs=[{"name": "image", "shape": ["batch", CHANNELS, HEIGHT, WIDTH]}],
        outputs=[
            {"name": "wide", "shape": ["batch", FOUND, rows, columns]},
            {"name": "small", "shape": ["batch", FOUND, rows, columns], "classes": ["tumour", "b", "c", "d", "e"]},
        ],
    )
    with OpenVinoEngine(package, EngineSettings(backend="openvino", precision="fp32", threads=1)) as engine:
        assert engine.infer({"image": images(3, CHANNELS, HEIGHT, WIDTH)})["wide"].shape == (3, FOUND, rows, columns)
    assert found == [False]


def sliced(start: int, end: int, axis: int, step: int) -> bytes:
    bounds = {"start": start, "end": end, "axis": axis, "step": step}
    return network(
        [node("Slice", "image start end axis step", "turned")],
        {"image": ["batch", CHANNELS, HEIGHT, WIDTH]},
        {"turned": ["batch", None, None, None]},
        **{name: np.array([number]) for name, number in bounds.items()},
    )


EVERYTHING = np.iinfo(np.int64).min


@pytest.mark.parametrize("axis", [-1, 3, 2, 1])
def test_a_mirror_image_is_gathered(axis):
    model, replaced, answers, expected = compiled(sliced(-1, EVERYTHING, axis, -1), gather_flips)
    assert replaced == 1
    assert "Slice" not in kinds(model)
    np.testing.assert_array_equal(answers[0], expected[0])


@pytest.mark.parametrize("bounds", [(-2, EVERYTHING, 3, -1), (-1, 0, 3, -1), (-1, EVERYTHING, 3, -2), (0, 9, 3, 1)])
def test_other_slices_are_left_alone(bounds):
    model, replaced, answers, expected = compiled(sliced(*bounds), gather_flips)
    assert replaced == 0
    assert "Slice" in kinds(model)
    np.testing.assert_array_equal(answers[0], expected[0])
