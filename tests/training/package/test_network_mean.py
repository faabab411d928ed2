"""Several packages as one: it answers with their mean in every engine, and says what it was made of."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs the `train` extra")

from engines.backends.onnxruntime.engine import OnnxRuntimeEngine  # noqa: E402
from engines.backends.openvino.engine import OpenVinoEngine  # noqa: E402
from engines.contract import EngineSettings  # noqa: E402
from engines.packages.package import load_package  # noqa: E402
from training.cli import app  # noqa: E402
from training.contenders import contenders  # noqa: E402
from training.errors import UnfitError  # noqa: E402
from training.evaluate.report import Asked, evaluate_package  # noqa: E402
from training.experiments import EXPERIMENTS  # noqa: E402
from training.loop.fit import fit  # noqa: E402
from training.loop.record import experiment_of  # noqa: E402
from training.loop.train import RunLimits, use_threads  # noqa: E402
from training.package.export import export  # noqa: E402

WIDTHS = {"liver-unet": (16, 32), "liver-lite-unet": (16, 16, 16, 16)}


@pytest.fixture(scope="module")
def runs(tiny_liver, tmp_path_factory):
    use_threads(1)
    place = tmp_path_factory.mktemp("runs")
    for name, widths in WIDTHS.items():
        options = {**EXPERIMENTS[name].options, "widths": widths}
        experiment = replace(EXPERIMENTS[name], options=options, batch=4, per_epoch=8, keep="last")
        fit(experiment, tiny_liver, place / name, RunLimits(epochs=1))
    return [place / name for name in WIDTHS]


def exported(runs, data, out, version="0.0.2", **options):
    return export([experiment_of(run) for run in runs], runs, data, out, version, pictures=False, **options)


@pytest.fixture(scope="module")
def parts(runs, tiny_liver, tmp_path_factory):
    place = tmp_path_factory.mktemp("parts")
    return [exported([run], tiny_liver, place / run.name, "0.0.1").folder for run in runs]


@pytest.fixture(scope="module", params=[("probabilities", False), ("logits", True)], ids=["32 bits", "16 bits, logits"])
def mean(request, runs, tiny_liver, tmp_path_factory):
    out, (of, compact) = tmp_path_factory.mktemp("mean"), request.param
    return compact, exported(runs, tiny_liver, out, of=of, compact=compact)


@pytest.mark.parametrize("kind", [OnnxRuntimeEngine, OpenVinoEngine])
def test_the_mean_answers(kind, parts, mean):
    rounded, package = mean
    image = package.reference()["image"]
    settings = EngineSettings(precision="fp32")
    apart = []
    for folder in parts:
        with OnnxRuntimeEngine(load_package(folder), settings) as engine:
            apart.append(engine.infer({"image": image})["logits"])
    assert np.abs(apart[0] - apart[1]).max() > 0.1
    with kind(package, settings) as engine:
        answer = engine.infer({"image": image})["logits"]
    of_logits = package.manifest.training.model_extra["mean"] == "logits"
    expected = expit(np.mean(apart, axis=0)) if of_logits else np.mean(expit(apart), axis=0)
    np.testing.assert_allclose(expit(answer), expected, atol=5e-3 if rounded else 5e-4)


def test_sixteen_bits_take_half_the_place(parts, mean):
    rounded, package = mean
    whole = sum((folder / "model.onnx").stat().st_size for folder in parts)
    size = (package.folder / "model.onnx").stat().st_size
    assert size < 0.65 * whole if rounded else size == pytest.approx(whole, rel=0.1)


def test_it_says_what_it_was_made_of_and_is_measured_again(mean, tiny_liver):
    _, package = mean
    manifest = package.manifest
    made = manifest.training.model_extra
    assert [one["name"] for one in (made["experiment"], *made["others"])] == list(WIDTHS)
    assert f"mean of the {manifest.training.model_extra['mean']} of" in package.card
    assert "liver-lite-unet" in package.card
    assert {entry.licence for entry in manifest.training.data} >= {"CC BY-SA 4.0", "Apache 2.0"}
    assert manifest.thresholds.mask == 0.5
    again = evaluate_package(package, Asked(tiny_liver)).figures
    for said, found in zip(manifest.accuracy, again, strict=True):
        assert said.metric == found.metric
        assert said.value == pytest.approx(found.value, abs=1e-4, nan_ok=True)


def test_pytorch_has_the_same_networks(mean):
    _, package = mean
    eager = next(one for one in contenders(package, threads=1, compiled=False) if one.precision == "fp32")
    image = package.reference()["image"]
    with eager.opening() as run:
        assert run({"image": image})["logits"].shape == (len(image), 2, 256, 256)


@pytest.mark.parametrize("key", ["seed", "classes"])
def test_what_is_not_alike_is_not_put_together(key, runs, tiny_liver, tmp_path):
    first, second = (experiment_of(run) for run in runs)
    other = replace(second, **{key: {"seed": 1, "classes": ("tumour", "liver")}[key]})
    with pytest.raises(UnfitError, match=f"differ in {key}"):
        export([first, other], runs, tiny_liver, tmp_path / "out", "0.0.2")
    assert not (tmp_path / "out").exists()


def test_a_package_stays_as_it_was_where_nothing_can_be_measured(runs, parts, tiny_liver, tmp_path):
    folder = shutil.copytree(parts[0], tmp_path / "models" / parts[0].name)
    before = (folder / "model.yaml").read_bytes()
    empty = shutil.copytree(tiny_liver, tmp_path / "data")
    (empty / "index.json").write_text("[]")
    with pytest.raises(ValueError, match="holds nothing out"):
        exported(runs, empty, tmp_path / "models")
    assert (folder / "model.yaml").read_bytes() == before
    assert exported(runs, tiny_liver, tmp_path / "models").folder == folder  # in its first part's place


def test_the_command_line_puts_runs_together(runs, tiny_liver, tmp_path):
    command = ["export", "liver-unet", *(f"--run={run}" for run in runs), f"--data={tiny_liver}", f"--out={tmp_path}"]
    made = CliRunner().invoke(app, [*command, "--version", "0.1.0", "--of", "probabilities", "--threshold", "0.4"])
    assert made.exit_code == 0, made.output
    package = load_package(tmp_path / "abdomen-liver-unet")
    assert (package.version, package.manifest.thresholds.mask) == ("0.1.0", 0.4)
    assert "`scanward export liver-unet --run ... --run ... --of probabilities --threshold 0.4`" in package.card
