"""Every published system learns on its published layout, and what it exports answers alike in every engine."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

from engines.backends.onnxruntime.engine import OnnxRuntimeEngine  # noqa: E402
from engines.backends.openvino.engine import OpenVinoEngine  # noqa: E402
from engines.contract import EngineSettings  # noqa: E402
from pipelines.brain import volume as brain_volume  # noqa: E402
from training.errors import UnfitError  # noqa: E402
from training.experiment import Variation  # noqa: E402
from training.experiments import EXPERIMENTS  # noqa: E402
from training.loop.fit import fit  # noqa: E402
from training.loop.train import RunLimits, use_threads  # noqa: E402
from training.package.export import export  # noqa: E402
from training.package.int8 import add_int8, calibration_inputs  # noqa: E402
from training.package.network import mean_of  # noqa: E402

OPTIONS = {
    "yesno-cnn": {"widths": (16, 16, 16), "dense": 16},
    "yesno-efficient-lite": {"mirror": True},
    "yesno-frozen-lite": {"mirror": True, "pools": ("mean", "max"), "sizes": (32, 64)},
    "mr-efficient-lite": {},
    "lgg-two-conv": {"widths": (16, 16), "dense": 16},
    "lgg-xception": {"width": 48, "middle": 1},
    "lgg-unet": {"widths": (16, 16, 16, 16, 16)},
    "lgg-residual-unet": {"widths": (16, 16, 32)},
    "lgg-efficient-unet": {},
    "lgg-double-unet": {"widths": (8, 8, 16, 16), "vgg": (8, 8, 16, 16, 16)},
    "lgg-resnet50": {"layers": (1, 1, 1, 1), "planes": (8, 8, 16, 16)},
    "lgg-classic-resunet": {"widths": (16, 16, 32)},
    "brats-unet3d": {"widths": (8, 8, 16, 16, 16)},
    "lits-munet": {"widths": (16, 16, 32)},
    "lgg-dynunet": {"widths": (16, 16, 32)},
    "brats-segresnet": {"width": 8, "down": (1, 1)},
    "brats-resunet3d": {"widths": (8, 8, 8, 16)},
    "brats-slices-unet": {"widths": (8, 8, 8, 16)},
}


LARGER = {"yesno-efficient-lite", "mr-efficient-lite"}
"""Trained on batches twice as large: with four pictures a step, what a processor rounds decides where the loss goes."""

BOX = (64, 64, 64)
"""Of whole brains; test_brains.py and the shipped package's tests have the box that serves."""


def tiny(name):
    experiment = EXPERIMENTS[name]
    if experiment.served_size is not None:
        experiment = replace(experiment, served_size=BOX)
    return replace(
        experiment,
        options=OPTIONS[name],
        size=(16, 32, 32) if len(experiment.size) == 3 else (64, 64),
        held_out=0.25,
        test=0.0,
        batch=2 if len(experiment.size) == 3 else 8 if name in LARGER else 4,
        per_epoch=80 if name in LARGER else 40,
        learning_rate=3e-3,
        variation=Variation(mirror=experiment.variation.mirror, blur=experiment.variation.blur),
        precision="bf16" if name == "yesno-cnn" else "32",
    )


@pytest.fixture(scope="module", params=sorted(name for name, one in EXPERIMENTS.items() if not one.prepared))
def trained(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brain_volume, "SHAPE", BOX)
        patch.setenv("SCANWARD_TRAINING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield train(tiny(request.param), request, tmp_path_factory)


def train(experiment, request, tmp_path_factory):
    use_threads(1)  # tiny tensors; more threads only wait for one another
    names = {"yesno": "tiny_yesno", "brats": "tiny_brats", "brains": "tiny_brats", "lits": "tiny_lits"}
    data = request.getfixturevalue(names.get(experiment.data, "tiny_slices"))
    folder = tmp_path_factory.mktemp(experiment.name)
    return experiment, data, folder, fit(experiment, data, folder, RunLimits(epochs=2))


@pytest.fixture(scope="module")
def package(trained, tmp_path_factory):
    experiment, data, folder, _ = trained
    return export([experiment], [folder], data, tmp_path_factory.mktemp("models"), "0.0.1")


def test_the_loss_falls(trained):
    _, _, folder, history = trained
    assert [entry["epoch"] for entry in history] == [0, 1]
    assert history[-1]["loss"] < history[0]["loss"]
    assert (folder / "curves.png").stat().st_size > 1000
    assert list(folder.glob("events.out.tfevents*"))


def test_the_package_answers_like_torch_in_every_engine(trained, package):
    experiment, _, folder, _ = trained
    inputs = package.reference()["image"]
    with torch.inference_mode():
        expected = mean_of([experiment], [folder])(torch.from_numpy(inputs)).numpy()
    for kind in (OnnxRuntimeEngine, OpenVinoEngine):
        with kind(package, EngineSettings(precision="fp32")) as engine:
            for batch in (1, len(inputs)):
                answer = engine.infer({"image": inputs[:batch]})["logits"]
                np.testing.assert_allclose(answer, expected[:batch], atol=2e-3)


def test_the_package_says_what_was_measured_and_on_what(trained, package):
    experiment, _, folder, _ = trained
    manifest = package.manifest
    assert manifest.accuracy
    assert all(figure.metric in package.card for figure in manifest.accuracy)
    held_out = json.loads((folder / "held_out.json").read_text())
    assert manifest.training.split["held_out"] == held_out["validation"]
    assert manifest.training.model_extra["recipe"] == experiment.name


def test_eight_bits_are_chosen_by_what_serving_shows(trained, package):
    _, data, *_ = trained
    if package.manifest.inputs[0].volumetric:
        with pytest.raises(UnfitError, match="one picture or slice of a fixed size"):
            add_int8(package.folder, data)
        return
    chosen = calibration_inputs(package, data, 4)
    assert 1 <= len(chosen) <= 4
    assert {one.shape for one in chosen} == {tuple(package.manifest.inputs[0].shape[1:])}
    assert all(one.dtype == np.float32 for one in chosen)


def test_the_held_out_items_are_drawn_but_not_into_the_package(trained, package):
    experiment, _, folder, _ = trained
    drawn = {"gallery.png"} | ({"reliability.png"} if experiment.task == "classification" else set())
    drawn |= {"gallery.gif"} if len(experiment.size) == 3 else set()
    assert all((folder / name).stat().st_size > 300 for name in drawn)
    names = {path.name for path in package.folder.iterdir()}
    assert names == {"model.onnx", "model.yaml", "MODEL_CARD.md", "reference.npz"}
