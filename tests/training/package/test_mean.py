"""Several packages as one: it answers with their mean in every engine, and says what it was made of."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from typer.testing import CliRunner

from engines.plainyaml import read_yaml, write_yaml

torch = pytest.importorskip("torch", reason="training needs the `train` extra")

from engines.contract import EngineSettings  # noqa: E402
from engines.onnxruntime_engine import OnnxRuntimeEngine  # noqa: E402
from engines.openvino_engine import OpenVinoEngine  # noqa: E402
from engines.package import load_package  # noqa: E402
from training.cli import app  # noqa: E402
from training.contenders import contenders  # noqa: E402
from training.evaluate.figures import UnfitError  # noqa: E402
from training.evaluate.report import Asked, evaluate_package  # noqa: E402
from training.loop.fit import fit  # noqa: E402
from training.loop.train import Limits, use_threads  # noqa: E402
from training.package.export import export  # noqa: E402
from training.package.mean import put_together  # noqa: E402
from training.recipes import RECIPES  # noqa: E402

WIDTHS = {"liver-unet": (16, 32), "liver-lite-unet": (16, 16, 16, 16)}


@pytest.fixture(scope="module")
def parts(tiny_liver, tmp_path_factory):
    use_threads(1)
    folders, place = [], tmp_path_factory.mktemp("parts")
    for name, widths in WIDTHS.items():
        recipe = replace(RECIPES[name], widths=widths, batch=4, samples_per_epoch=8, keep="last")
        cases = recipe.loader(tiny_liver)
        fit(recipe, tiny_liver, cases, place / "runs" / name, Limits(epochs=1))
        package = export(recipe, [place / "runs" / name], cases, place / name, "0.0.1", half=False, pictures=False)
        folders.append(package.folder)
    return folders


@pytest.fixture(scope="module", params=[("probabilities", False), ("logits", True)], ids=["32 bits", "16 bits, logits"])
def mean(request, parts, tiny_liver, tmp_path_factory):
    out, (of, compact) = tmp_path_factory.mktemp("mean"), request.param
    return compact, put_together(parts, tiny_liver, out, "0.0.2", of=of, compact=compact)


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
    assert [part["trained_as"] for part in manifest.training.model_extra["mean_of"]] == list(WIDTHS)
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


def changed(folder, place, change):
    copy = shutil.copytree(folder, place / folder.name)
    content = read_yaml((copy / "model.yaml").read_text())
    change(content)
    (copy / "model.yaml").write_text(write_yaml(content))
    return copy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["training"]["split"].update(held_out=["somebody"]), "held out other patients"),
        (lambda c: c["outputs"][0].update(classes=["tumour", "liver"]), "differ in outputs"),
        (lambda c: c["training"].update(recipe="somebody's"), "expected a package of one recipe"),
    ],
    ids=["held out", "classes", "recipe"],
)
def test_what_is_not_alike_is_not_put_together(change, words, parts, tiny_liver, tmp_path):
    other = changed(parts[1], tmp_path / "other", change)
    with pytest.raises(UnfitError, match=words):
        put_together([parts[0], other], tiny_liver, tmp_path / "out", "0.0.2")
    assert not (tmp_path / "out").exists()


def test_a_package_stays_as_it_was_where_nothing_can_be_measured(parts, tiny_liver, tmp_path):
    folders = [shutil.copytree(folder, tmp_path / "models" / folder.name) for folder in parts]
    before = (folders[0] / "model.yaml").read_bytes()
    empty = shutil.copytree(tiny_liver, tmp_path / "data")
    (empty / "index.json").write_text("[]")
    with pytest.raises(FileNotFoundError, match="held out"):
        put_together(folders, empty, tmp_path / "models", "0.0.2")
    assert (folders[0] / "model.yaml").read_bytes() == before
    made = put_together(folders, tiny_liver, tmp_path / "models", "0.0.2")
    assert made.folder == folders[0]  # in its first part's place


def test_the_command_line_puts_packages_together(parts, tiny_liver, tmp_path):
    command = ["export", *(f"--mean={folder}" for folder in parts), f"--data={tiny_liver}", f"--out={tmp_path}"]
    made = CliRunner().invoke(app, [*command, "--version", "0.1.0"])
    assert made.exit_code == 0, made.output
    assert load_package(tmp_path / "abdomen-liver-unet").version == "0.1.0"
    alone = CliRunner().invoke(app, ["export", f"--mean={parts[0]}", f"--data={tiny_liver}", f"--out={tmp_path}"])
    assert alone.exit_code == 2
    assert "two packages" in alone.output
