"""A shipped package made again by one command: what ships is what the command says, and it works on a tiny data set."""

from __future__ import annotations

import shutil
from dataclasses import replace

import onnx
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs the `train` extra")

from engines.packages.package import find_packages, load_package, shipped_folder
from training.cli import app
from training.experiments import EXPERIMENTS
from training.reproduce import MAKINGS

SMALL = {"batch": 4, "per_epoch": 8}
WIDTHS = {"liver-unet": (16, 32), "liver-lite-unet": (16, 16, 16, 16)}


@pytest.fixture
def small_networks(monkeypatch):
    monkeypatch.setattr("training.loop.fit.PHANTOMS", 0)
    for name, widths in WIDTHS.items():
        monkeypatch.setitem(EXPERIMENTS, name, replace(EXPERIMENTS[name], options={"widths": widths}, **SMALL))


def test_every_shipped_package_can_be_made_again():
    assert set(MAKINGS) == set(find_packages(shipped_folder()))


@pytest.mark.parametrize("name", MAKINGS)
def test_the_command_makes_what_ships(name):
    making, manifest = MAKINGS[name], load_package(shipped_folder() / name).manifest
    recorded = manifest.training.model_extra
    parts = recorded.get("mean_of", [recorded])
    assert [part.get("trained_as", part["recipe"]) for part in parts] == [part.trained for part in making.parts]
    if name != "brain-brats-slices-unet":  # made in legs (docs/lab/shipped-weights.md)
        assert [part["minutes"] for part in parts] == pytest.approx([part.minutes for part in making.parts], abs=1)
    assert parts[0]["recipe"] == (making.parts[0].exported or making.parts[0].trained)
    weights = onnx.load(shipped_folder() / name / "model.onnx").graph.initializer
    assert any(each.data_type == onnx.TensorProto.FLOAT16 for each in weights) == ("compact" in making.options)
    for option in ("mirror", "rounded"):
        assert recorded.get(option, False) == (option in making.options)
    assert "int8" in manifest.variants
    assert manifest.calibration is not None
    if len(parts) > 1:
        assert recorded["mean"] == making.of
        assert manifest.thresholds.mask == making.threshold


@pytest.mark.usefixtures("small_networks")
def test_a_package_is_made_by_one_command_which_takes_up_what_was_begun(tiny_liver, tmp_path):
    command = ["reproduce", "abdomen-liver-unet", "--data", tiny_liver, "--out", tmp_path / "packages"]
    command += ["--runs", tmp_path / "runs", "--epochs", "1", "--threads", "1"]
    first = CliRunner().invoke(app, list(map(str, command)))
    assert first.exit_code == 0, first.output
    package = load_package(tmp_path / "packages" / "abdomen-liver-unet")
    made = package.manifest.training.model_extra
    assert [one["name"] for one in (made["experiment"], *made["others"])] == list(WIDTHS)
    shipped = load_package(shipped_folder() / "abdomen-liver-unet").manifest
    assert f"{shipped.accuracy[0].value:.3f}" in first.output
    assert f"{package.manifest.accuracy[0].value:.3f}" in first.output

    weights = tmp_path / "runs" / "liver-unet" / "best.pt"
    before = weights.stat().st_mtime_ns
    shutil.rmtree(tmp_path / "runs" / "liver-lite-unet")  # this one was not begun
    again = CliRunner().invoke(app, list(map(str, command)))
    assert again.exit_code == 0, again.output
    assert weights.stat().st_mtime_ns == before

    (tmp_path / "runs" / "liver-unet" / "last.ckpt").unlink()
    refused = CliRunner().invoke(app, list(map(str, command)))
    assert refused.exit_code == 2
    assert "no last.ckpt" in " ".join(refused.output.split())
    assert weights.stat().st_mtime_ns == before


def test_what_does_not_ship_is_no_name(tiny_liver):
    result = CliRunner().invoke(app, ["reproduce", "liver-unet", "--data", str(tiny_liver)])
    assert result.exit_code == 2
    assert "abdomen-liver-unet" in result.output
