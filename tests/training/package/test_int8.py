"""The INT8 variant serves as the network does, or there is none."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from engines.plain_yaml import read_yaml, write_yaml

pytest.importorskip("nncf", reason="training needs the `train` extra")
pytest.importorskip("torch", reason="training needs the `train` extra")

from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.packages.package import load_package
from tests.pipelines.brain.brains import stand_in
from tests.training.conftest import CLASSIFIER, held_out_of, untouched
from training.cli import app
from training.errors import UnfitError
from training.evaluate.figures import Figure
from training.package import int8


@pytest.fixture(scope="module")
def quantised(tmp_path_factory, tiny_lgg):
    """The classifier with an INT8 variant; only to be looked at, or copied."""
    return int8.add_int8(held_out_of(tiny_lgg, tmp_path_factory.mktemp("int8")), tiny_lgg, "9.0.0").folder


def test_a_network_gets_a_variant_that_serves_and_is_what_was_measured(quantised):
    package = load_package(quantised)
    assert package.version == "9.0.0"
    assert package.manifest.variants["int8"].format == "openvino"
    assert len(package.network("int8")) < 0.6 * len(package.network())  # whose weights are in 16 bits
    with open_engine(package, EngineSettings(backend="openvino", threads=1)) as engine:
        assert engine.description.precision == "int8"
    measured, variant = re.split(r"## INT8\n", package.card)
    for figure in package.manifest.accuracy:
        row = f"| {figure.metric} | {round(figure.value, 4):.3f} |"
        assert row in measured
        assert f"| {figure.metric} |" in variant  # what it was without
    assert "| 12 |" in measured  # two patients of six slices
    assert "the largest values on 12 slices" in variant
    assert package.card.startswith(f"# {CLASSIFIER} 9.0.0\n")


def test_once_more_takes_the_place_of_the_first(quantised, tiny_lgg, tmp_path):
    first, folder = load_package(quantised), Path(shutil.copytree(quantised, tmp_path / CLASSIFIER))
    files = {path.name for path in folder.iterdir()}
    again = int8.add_int8(folder, tiny_lgg)
    assert again.manifest.accuracy == first.manifest.accuracy
    assert again.card.count("## INT8\n") == again.card.count("## Measured") == 1
    assert {path.name for path in folder.iterdir()} == files


def test_what_costs_too_much_is_left_out_and_the_card_says_so(quantised, tiny_lgg, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(quantised, tmp_path / CLASSIFIER))
    before = load_package(folder).card.split("## INT8")[1]
    monkeypatch.setattr(int8, "LOSS", -1.0)
    package = int8.add_int8(folder, tiny_lgg)
    assert package.manifest.variants == {}
    assert not (folder / int8.FILE).exists()
    assert re.search(r"None: tumour: AUC by slice would be \d\.\d+ instead of \d\.\d+", package.card)
    assert package.version == "9.0.0"
    for figure in package.manifest.accuracy:  # those that it had without, again
        row = f"| {figure.metric} | {round(figure.value, 4):.3f} |"
        assert row in before
        assert row in package.card.split("## INT8")[0]


def test_a_figure_that_is_none_any_more_is_a_loss():
    was, is_now = Figure("Dice by patient, mean", 0.8, 3), Figure("Dice by patient, mean", float("nan"), 3)
    assert int8.lost([was], [is_now]) == "Dice by patient, mean would be nan instead of 0.800"
    assert int8.lost([was], [was]) == ""
    assert int8.lost([was], []) == "Dice by patient, mean would be nan instead of 0.800"
    assert "no figure to judge it by" in int8.lost([Figure("volume", 1.0, 3)], [Figure("volume", 1.0, 3)])


def test_a_processor_without_int8_leaves_the_package_alone(classifier, tiny_lgg, monkeypatch):
    monkeypatch.setattr("engines.backends.openvino.engine.precisions", lambda: ("fp32",))
    with untouched(classifier), pytest.raises(UnfitError, match="the processor does not compute in it"):
        int8.add_int8(classifier, tiny_lgg)


def test_a_version_that_is_none_leaves_the_package_alone(classifier, tiny_lgg):
    command = ["export", "--variants", str(classifier), "--int8", "--data", str(tiny_lgg), "--version", "3"]
    with untouched(classifier):
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "version: String should match" in " ".join(result.output.replace("│", " ").split())


def test_what_the_gate_refuses_is_left_out(classifier, tiny_lgg, monkeypatch):
    inputs = [np.zeros((5, 192, 160), np.float32)]  # nothing is ever larger than zero, so eight bits reach nowhere
    monkeypatch.setattr(int8, "calibration_inputs", lambda *_: inputs)
    monkeypatch.setattr(int8, "reference_feeds", lambda _: {"image": inputs})
    package = int8.add_int8(classifier, tiny_lgg)
    assert package.manifest.variants == {}
    assert re.search(r"None: \d+\.\d\d% of the probabilities differ", package.card.split("## INT8")[1])


def test_networks_of_volumes_have_none(tmp_path):
    with pytest.raises(UnfitError, match="one picture or slice of a fixed size"):
        int8.add_int8(stand_in(tmp_path / "models") / "brain-brats-slices-unet", tmp_path)


def test_data_without_the_patients_is_an_error_that_says_so(classifier, tiny_lgg):
    content = read_yaml((classifier / "model.yaml").read_text())
    content["training"]["split"]["held_out"] = ["TCGA_XX_0000_19990101"]
    (classifier / "model.yaml").write_text(write_yaml(content))
    command = ["export", "--variants", str(classifier), "--int8", "--data", str(tiny_lgg)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert f"nothing that {CLASSIFIER} held out is in" in " ".join(result.output.replace("│", " ").split())
    assert int8.FILE in {path.name for path in classifier.iterdir()}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--variants", "PACKAGE", "--int8"], "expected --data DIR"),
        (["--int8"], "--int8: only with --variants PACKAGE"),
        (["--variants", "PACKAGE", "--version", "1.0.0"], "the package keeps its version"),
    ],
)
def test_options_that_do_not_go_together_are_said(classifier, options, words):
    command = [str(classifier) if option == "PACKAGE" else option for option in options]
    result = CliRunner().invoke(app, ["export", *command])
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())
