"""What a package carries so that TensorRT can compute it in INT8, and when it carries nothing."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs the `train` extra")

from engines.backends.tensorrt.fp16 import plain
from engines.backends.tensorrt.int8 import convolutions
from engines.packages.package import load_package
from tests.engines.conftest import images
from tests.training.conftest import untouched
from training.cli import app
from training.errors import UnfitError
from training.package import calibrate
from training.package.manifest import forget_variants
from training.package.rewrite import edit_manifest


@pytest.fixture
def classifier(classifier):
    """Without its calibration."""
    (classifier / "calibration.json").unlink()
    edit_manifest(classifier, calibration=None)
    return classifier


def test_a_package_gets_a_calibration_and_nothing_else_changes(classifier, tiny_lgg):
    before = load_package(classifier)
    command = ["export", "--variants", str(classifier), "--calibrate", "--data", str(tiny_lgg)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    package = load_package(classifier)
    names = {each.input[0] for each in convolutions(plain(onnx.load_from_string(package.network())))}
    assert set(package.largest()) == names
    assert all(value >= calibrate.LEAST for value in package.largest().values())
    same = package.manifest.model_copy(update={"calibration": None})
    assert same == before.manifest
    section = package.card.split("## INT8 on a GPU")[1]
    assert "the largest values on 12 slices" in section
    for figure in before.manifest.accuracy:
        assert re.search(rf"\| {re.escape(figure.metric)} \| \d\.\d{{3}} \| \d\.\d{{3}} \|", section)

    again = calibrate.add_calibration(classifier, tiny_lgg)
    assert again.largest() == package.largest()
    assert again.card == package.card
    forget_variants(classifier)
    assert not (classifier / "calibration.json").exists()


def test_the_values_are_the_largest_that_the_network_shows(classifier):
    package = load_package(classifier)
    inputs = list(3 * images(3, *package.manifest.inputs[0].shape[1:]))
    graph = plain(onnx.load_from_string(package.network()))
    names = [each.input[0] for each in convolutions(graph)][:4]
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    shown = session.run(names, {package.manifest.inputs[0].name: np.stack(inputs)})
    found = calibrate.largest_values(package, inputs)
    for name, values in zip(names, shown, strict=True):
        assert found[name] == pytest.approx(np.abs(values).max(), rel=1e-3)


def test_the_figures_are_those_of_eight_bits(classifier, tiny_lgg):
    package = load_package(classifier)
    values = calibrate.largest_values(package, list(images(3, *package.manifest.inputs[0].shape[1:])))
    rough = calibrate.measure_in_eight_bits(package, dict.fromkeys(values, calibrate.LEAST), tiny_lgg)
    right = calibrate.measure_in_eight_bits(package, dict.fromkeys(values, 25.0), tiny_lgg)
    calibration = "tumour: expected calibration error"
    assert [one.n for one in rough.figures] == [one.n for one in right.figures]
    found = [next(one.value for one in each.figures if one.metric == calibration) for each in (rough, right)]
    assert abs(found[0] - found[1]) > 0.01


def test_what_costs_too_much_is_left_out_and_the_card_says_so(classifier, tiny_lgg, monkeypatch):
    calibrate.add_calibration(classifier, tiny_lgg)
    monkeypatch.setattr("training.package.int8.LOSS", -1.0)
    package = calibrate.add_calibration(classifier, tiny_lgg)
    assert package.manifest.calibration is None
    assert not (classifier / "calibration.json").exists()
    assert re.search(r"None: tumour: AUC by slice would be \d\.\d+ instead of \d\.\d+", package.card)


def test_what_the_gate_would_refuse_is_left_out(classifier, tiny_lgg, monkeypatch):
    monkeypatch.setattr(calibrate, "calibration_inputs", lambda *_: [np.zeros((5, 192, 160), np.float32)])
    monkeypatch.setattr(calibrate, "reference_feeds", lambda _: {"image": []})
    package = calibrate.add_calibration(classifier, tiny_lgg)
    assert package.manifest.calibration is None
    assert re.search(r"None: \d+\.\d\d% of the probabilities differ", package.card.split("## INT8 on a GPU")[1])


def test_a_network_that_cannot_be_converted_leaves_the_package_alone(classifier, tiny_lgg, monkeypatch):
    def broken(*_) -> bytes:
        raise ValueError("no such operation")

    monkeypatch.setattr(calibrate, "in_eight_bits", broken)
    refused = pytest.raises(UnfitError, match=r"cannot be converted \(ValueError: no such operation\)")
    with untouched(classifier), refused:
        calibrate.add_calibration(classifier, tiny_lgg)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--calibrate"], "--calibrate: only with --variants PACKAGE"),
        (["--variants", "PACKAGE", "--calibrate"], "expected --data DIR"),
        (["--variants", "PACKAGE", "--calibrate", "--int8"], "received --int8, --calibrate"),
        (["--variants", "PACKAGE", "--calibrate", "--version", "1.0.0"], "the package keeps its version"),
    ],
)
def test_what_makes_no_sense_is_refused(classifier, options, words):
    command = ["export", *(str(classifier) if option == "PACKAGE" else option for option in options)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())
