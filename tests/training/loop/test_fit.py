"""Every named training learns, and what it exports answers alike in every engine."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")

from engines.backends.onnxruntime.engine import OnnxRuntimeEngine  # noqa: E402
from engines.backends.openvino.engine import OpenVinoEngine  # noqa: E402
from engines.contract import EngineSettings  # noqa: E402
from training.data.dataset import read  # noqa: E402
from training.experiment import Augmentation  # noqa: E402
from training.experiments import EXPERIMENTS  # noqa: E402
from training.loop.fit import fit  # noqa: E402
from training.loop.schedule import schedule  # noqa: E402
from training.loop.train import RunLimits, use_threads  # noqa: E402
from training.package.export import export  # noqa: E402
from training.package.network import ServedNetwork, mean_of  # noqa: E402

OPTIONS = {
    "lite-unet": {"widths": (16, 16, 16, 16), "pretrained": True},
    "resunet": {"widths": (16, 32, 32)},
    "slice-classifier": {"widths": (16, 32, 32)},
}
PREPARED = sorted(name for name, one in EXPERIMENTS.items() if one.prepared)


def tiny(name):
    still = Augmentation(rotation=0, scale=0, shift=0, bend=0, mirror=False, gain=0, noise=0, blur=0)
    return replace(
        EXPERIMENTS[name],
        options=OPTIONS[EXPERIMENTS[name].network],
        batch=8,
        per_epoch=48,
        held_out=0.5,
        minutes=5.0,
        learning_rate=5e-3,
        augmentation=still,
    )


@pytest.fixture(scope="module", params=PREPARED)
def trained(request, tmp_path_factory, tiny_lgg, tiny_liver):
    experiment = tiny(request.param)
    use_threads(1)  # tiny tensors; more threads only wait for one another
    data = tiny_liver if experiment.data == "liver" else tiny_lgg
    folder = tmp_path_factory.mktemp(request.param)
    return experiment, data, folder, fit(experiment, data, folder, RunLimits(epochs=3))


@pytest.fixture(scope="module")
def package(trained, tmp_path_factory):
    experiment, data, folder, _ = trained
    return export([experiment], [folder], data, tmp_path_factory.mktemp("models"), "0.0.1")


def test_the_loss_falls(trained):
    _, _, _, history = trained
    losses = [entry["loss"] for entry in history]
    assert len(losses) == 3
    assert losses[-1] < losses[0]


def test_the_run_records_what_was_done(trained):
    experiment, data, folder, history = trained
    record = json.loads((folder / "record.json").read_text())
    assert record["experiment"]["name"] == experiment.name
    assert record["history"] == history
    assert record["best"] == max(entry["score"] for entry in history)
    assert len(record["data_digest"]) == 64
    assert set(record["libraries"]) >= {"torch", "lightning"}
    assert (folder / "curves.png").stat().st_size
    assert list(folder.glob("events.out.tfevents.*"))
    held_out = json.loads((folder / "held_out.json").read_text())
    assert 0 < len(held_out["validation"]) < len(read(experiment, data))


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


def test_of_two_runs_the_mean_answers(tmp_path, tiny_lgg):
    use_threads(1)
    experiment = tiny("lgg-resunet")
    runs = [tmp_path / "one", tmp_path / "other"]
    for variant, folder in enumerate(runs):
        fit(replace(experiment, variant=variant), tiny_lgg, folder, RunLimits(epochs=1))
    package = export([experiment] * 2, runs, tiny_lgg, tmp_path / "models", "0.0.1", pictures=False)
    inputs = torch.from_numpy(package.reference()["image"])
    with torch.inference_mode():
        one, other = (mean_of([experiment], [run])(inputs).numpy() for run in runs)
    with OnnxRuntimeEngine(package, EngineSettings(precision="fp32")) as engine:
        np.testing.assert_allclose(engine.infer({"image": inputs.numpy()})["logits"], (one + other) / 2, atol=2e-3)
    assert np.abs(one - other).max() > 0.1  # another variant is another network
    assert package.manifest.training.model_extra["networks"] == 2
    assert "mean of 2 runs" in package.card


def test_the_package_says_what_was_measured_and_on_whom(trained, package):
    experiment, data, _, _ = trained
    manifest = package.manifest
    assert manifest.task == experiment.task
    assert {figure.n for figure in manifest.accuracy} != {0}
    assert set(manifest.training.split["held_out"]) <= {case.name for case in read(experiment, data)}
    for figure in manifest.accuracy:
        assert figure.metric in package.card


def test_an_interrupted_run_is_taken_up_again(trained):
    experiment, data, folder, history = trained
    again = fit(experiment, data, folder, RunLimits(epochs=4, resume=True))
    assert len(again) == 4
    assert again[:3] == history


def test_what_a_run_started_from_is_in_its_card(tmp_path, tiny_lgg, tiny_liver):
    use_threads(1)
    liver, glioma = (replace(tiny(name), options={"widths": (16, 32)}) for name in ("liver-unet", "lgg-resunet"))
    fit(liver, tiny_liver, tmp_path / "liver", RunLimits(epochs=1))
    best, run = tmp_path / "liver" / "best.pt", tmp_path / "run"
    with pytest.raises(RuntimeError, match="size mismatch"):  # another network is no start
        fit(glioma, tiny_lgg, tmp_path / "no", RunLimits(epochs=1), initial=best)
    weights = torch.load(best, weights_only=True)
    sources = [{"name": "Elsewhere", "licence": "CC BY 4.0", "citation": "Somebody"}]
    record = json.loads((best.parent / "record.json").read_text())
    (best.parent / "record.json").write_text(json.dumps({**record, "sources": sources}))
    fit(liver, tiny_liver, run, RunLimits(epochs=1), initial=best)
    fit(liver, tiny_liver, run, RunLimits(epochs=2, resume=True))
    record = json.loads((run / "record.json").read_text())
    assert record["initial"] == "liver"
    assert record["before"] == pytest.approx(weights["minutes"])
    package = export([liver], [run], tiny_liver, tmp_path / "models", "0.0.1", pictures=False)
    assert [entry.name for entry in package.manifest.training.data][1:] == ["Elsewhere"]
    assert package.manifest.licence.endswith("data under: CC BY 4.0")
    assert "Elsewhere: CC BY 4.0" in package.card


def test_the_learning_rate_rises_and_falls():
    shares = [schedule(share) for share in (0, 0.03, 0.5, 1.0)]
    assert shares[0] < shares[1] == pytest.approx(1.0)
    assert shares[1] > shares[2] > shares[3] == pytest.approx(0.01)


def test_the_answer_is_the_mean_over_sizes_and_mirror_images():
    class Bright(torch.nn.Module):
        def forward(self, image):
            return image[:, :1] * torch.linspace(0, 1, image.shape[3]), None

    image = torch.zeros(1, 1, 32, 64)
    image[:, :, 8:24, 16:48] = 1
    plain = ServedNetwork(Bright(), 0, False)
    assert torch.equal(plain(image), image * torch.linspace(0, 1, 64))
    answer = ServedNetwork(Bright(), 0, True, (0.5, 1.0, 1.5))(image)
    assert answer.shape == image.shape
    torch.testing.assert_close(answer, answer.flip(3))
    torch.testing.assert_close(answer[0, 0, 12:20, 20:44], torch.full((8, 24), 0.5), atol=0.02, rtol=0)
    assert 0 < answer[0, 0, 7, 32] < 0.5  # the edge is blurred by the sizes
