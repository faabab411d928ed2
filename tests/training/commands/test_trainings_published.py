"""From the command line: train, take up again, export, evaluate; and the two stages of system C together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from engines.plain_yaml import read_yaml

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

from typer.testing import CliRunner  # noqa: E402

from engines.backends.onnxruntime.engine import OnnxRuntimeEngine  # noqa: E402
from engines.contract import EngineSettings  # noqa: E402
from engines.packages.package import load_package  # noqa: E402
from training.cli import app  # noqa: E402
from training.evaluate.predict import two_stage  # noqa: E402
from training.experiments import EXPERIMENTS  # noqa: E402
from training.loop.record import experiment_of  # noqa: E402
from training.package.network import mean_of  # noqa: E402

CONFIG = "size: [32, 32]\nheld_out: 0.5\nbatch: 4\nprecision: '32'\noptions: {widths: [16, 16], dense: 16}\n"


def scanward(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_system_is_trained_taken_up_again_exported_and_evaluated(tiny_slices, tmp_path):
    run, config = tmp_path / "run", tmp_path / "change.yaml"
    config.write_text(CONFIG)
    command = ("train", "lgg-two-conv", "--data", tiny_slices, "--out", run, "--config", config, "--split", "slice")
    scanward(*command, "--epochs", 1, "--threads", 1)
    first = json.loads((run / "record.json").read_text())
    scanward(*command, "--epochs", 2, "--threads", 1, "--resume")
    second = json.loads((run / "record.json").read_text())
    assert second["history"][:1] == first["history"]
    assert [entry["epoch"] for entry in second["history"]] == [0, 1]
    assert (second["experiment"]["split"], second["experiment"]["size"]) == ("slice", [32, 32])
    packages, figures = tmp_path / "packages", tmp_path / "figures.json"
    scanward("export", "lgg-two-conv", "--run", run, "--data", tiny_slices, "--out", packages)
    output = scanward("evaluate", packages / "lgg-two-conv", "--data", tiny_slices, "--out", figures)
    assert "lgg-two-conv" in output
    card = (packages / "lgg-two-conv" / "MODEL_CARD.md").read_text()
    for figure in json.loads(figures.read_text()):
        assert f"| {figure['metric']} | {figure['value']:.3f} |" in card


def test_of_two_systems_the_mean_is_exported_if_they_read_and_held_out_the_same(tiny_slices, tmp_path):
    changes = {"lgg-unet": "only_positive: false\n", "lgg-classic-resunet": "only_positive: false\ntest: 0.0\n"}
    runs, config = [], tmp_path / "change.yaml"
    for name, change in changes.items():
        alike = "size: [32, 32]\nheld_out: 0.5\nbatch: 4\nprecision: '32'\ninputs: standardised-v1\n"
        config.write_text(f"{alike}{change}options: {{widths: [16, 16{', 16, 16, 16' * (name == 'lgg-unet')}]}}\n")
        runs.append(tmp_path / name)
        arguments = ("--out", runs[-1], "--config", config, "--epochs", 1, "--threads", 1)
        scanward("train", name, "--data", tiny_slices, *arguments)
    arguments = ("--data", tiny_slices, "--out", tmp_path)
    both = [argument for run in runs for argument in ("--run", run)]
    scanward("export", "lgg-unet", *both, *arguments, "--mirror")
    package = load_package(tmp_path / "lgg-unet")
    assert [other["name"] for other in package.manifest.training.model_extra["others"]] == ["lgg-classic-resunet"]
    assert "`scanward train lgg-unet`, `scanward train lgg-classic-resunet`" in package.card
    assert package.manifest.accuracy
    inputs = torch.from_numpy(package.reference()["image"])
    with torch.inference_mode(), OnnxRuntimeEngine(package, EngineSettings(precision="fp32")) as engine:
        networks = [mean_of([experiment_of(run)], [run]) for run in runs]
        answers = [way for network in networks for way in (network(inputs), network(inputs.flip(3)).flip(3))]
        found = engine.infer({"image": inputs.numpy()})["logits"]
    np.testing.assert_allclose(found, torch.stack(answers).mean(0).numpy(), atol=2e-3)
    assert "`scanward export lgg-unet --run ... --run ... --mirror`" in package.card
    record = json.loads((runs[1] / "record.json").read_text())
    record["experiment"]["inputs"] = "unit-v1"
    (runs[1] / "record.json").write_text(json.dumps(record))
    result = CliRunner().invoke(app, [str(argument) for argument in ("export", "lgg-unet", *both, *arguments)])
    assert result.exit_code == 2
    assert "differ in inputs" in result.output


@pytest.mark.parametrize("change", ["colour: red", "batch: many"])
def test_a_configuration_that_makes_no_sense_is_a_usage_error(tiny_slices, tmp_path, change):
    config = tmp_path / "change.yaml"
    config.write_text(change)
    result = CliRunner().invoke(
        app, ["train", "lgg-unet", "--data", str(tiny_slices), "--config", str(config), "--out", str(tmp_path / "run")]
    )
    assert result.exit_code == 2
    assert change.split(":", maxsplit=1)[0] in result.output


def test_the_segmenter_looks_only_where_the_classifier_says_tumour():
    stages = EXPERIMENTS["lgg-resnet50"], EXPERIMENTS["lgg-classic-resunet"]
    asked = []

    def segment(inputs):
        asked.append(inputs.shape)
        return np.ones((1, 1, 8, 8), np.float32)

    for said, filled in ((0.4, False), (0.6, True)):
        found = two_stage(stages, (lambda _, p=said: np.array([[p]], np.float32), segment), np.zeros((3, 8, 8)))
        assert found.shape == (1, 8, 8)
        assert found.any() == filled
    assert asked == [(1, 3, 8, 8)]


TINY = "size: [32, 32]\nheld_out: 0.25\ntest: 0.25\nbatch: 4\nprecision: '32'\noptions: {{{options}}}\n"
STAGES = {"lgg-resnet50": "layers: [1, 1, 1, 1], planes: [8, 8, 16, 16]", "lgg-classic-resunet": "widths: [16, 16]"}


@pytest.fixture(scope="module")
def stages(tiny_slices, tmp_path_factory):
    """Packages of system C's two networks, trained for an epoch."""
    root = tmp_path_factory.mktemp("stages")
    for name, options in STAGES.items():
        config = root / f"{name}.yaml"
        config.write_text(TINY.format(options=options))
        run = root / "runs" / name
        arguments = ("--data", tiny_slices, "--out", run, "--config", config, "--epochs", 1, "--threads", 1)
        scanward("train", name, *arguments)
        scanward("export", name, "--run", run, "--data", tiny_slices, "--out", root / "packages")
    return root / "packages"


def test_a_threshold_is_chosen_on_validation_and_the_figures_are_of_others(stages):
    for name in STAGES:
        content = read_yaml((stages / name / "model.yaml").read_text())
        assert content["training"]["split"]["note"] == "they chose nothing"
        assert "variants" not in content
    assert 0.05 <= load_package(stages / "lgg-resnet50").manifest.thresholds.probability <= 0.95
    assert 0.3 <= load_package(stages / "lgg-classic-resunet").manifest.thresholds.mask <= 0.7


def test_two_stages_are_measured_and_drawn(stages, tiny_slices, tmp_path):
    command = ("evaluate", stages / "lgg-resnet50", "--then", stages / "lgg-classic-resunet", "--data", tiny_slices)
    output = scanward(*command, "--report", tmp_path / "report", "--out", tmp_path / "figures.json")
    assert "lgg-resnet50, then lgg-classic-resunet" in output
    figures = {figure["metric"]: figure for figure in json.loads((tmp_path / "figures.json").read_text())}
    together, alone = (figures[f"{way}, tumour: Dice by patient, mean"] for way in ("two stages", "segmenter alone"))
    assert together["n"] == alone["n"] > 0
    assert together["value"] <= alone["value"] + 1e-9 or figures[ASKED]["value"] < 1
    assert 0 <= figures[ASKED]["value"] <= 1
    with Image.open(tmp_path / "report" / "gallery.png") as gallery:
        assert gallery.size[0] == 4 * 32
    assert "![Best, median and worst" in (tmp_path / "report" / "report.md").read_text()


ASKED = "share of a patient's slices that the segmenter looked at"


def test_two_classifiers_are_no_two_stages(stages, tiny_slices):
    classifier = str(stages / "lgg-resnet50")
    command = ["evaluate", classifier, "--then", classifier, "--data", str(tiny_slices)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "expected a classifier and a segmenter" in " ".join(result.output.split())
