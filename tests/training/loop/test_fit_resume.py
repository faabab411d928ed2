"""A run that was cut off is taken up where its last epoch ended."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

from training.errors import UnfitError  # noqa: E402
from training.experiment import Variation  # noqa: E402
from training.experiments import EXPERIMENTS  # noqa: E402
from training.loop.checkpoint import CheckpointWriter  # noqa: E402
from training.loop.fit import fit  # noqa: E402
from training.loop.learner import Learner  # noqa: E402
from training.loop.schedule import Schedule  # noqa: E402
from training.loop.train import RunLimits, use_threads  # noqa: E402

SYSTEM = replace(
    EXPERIMENTS["lgg-two-conv"],
    options={"widths": (16, 16), "dense": 16},
    size=(32, 32),
    held_out=0.5,
    batch=4,
    precision="32",
    variation=Variation(),
)


class PowerCutError(Exception):
    pass


def test_an_epoch_that_was_finished_is_not_trained_again(tiny_slices, tmp_path, monkeypatch):
    use_threads(1)
    finish = CheckpointWriter.on_train_epoch_end

    def cut_off(writer, trainer, learner):
        if trainer.current_epoch == 2:
            raise PowerCutError
        finish(writer, trainer, learner)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointWriter, "on_train_epoch_end", cut_off)
        with pytest.raises(PowerCutError):
            fit(SYSTEM, tiny_slices, tmp_path, RunLimits(epochs=4))
    left = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert left["epoch"] == 1
    trained = []
    monkeypatch.setattr(
        CheckpointWriter, "on_train_epoch_end", lambda k, t, n: (trained.append(t.current_epoch), finish(k, t, n))
    )
    history = fit(SYSTEM, tiny_slices, tmp_path, RunLimits(epochs=4, resume=True))
    assert trained == [2, 3]
    assert [entry["epoch"] for entry in history] == [0, 1, 2, 3]


def test_a_run_is_resumed_as_it_was_started_or_not_at_all(tiny_slices, tmp_path):
    experiment = replace(SYSTEM, split="slice")
    use_threads(1)
    fit(experiment, tiny_slices, tmp_path, RunLimits(epochs=1))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UnfitError, match="another experiment"):
        fit(replace(experiment, split="patient"), tiny_slices, tmp_path, RunLimits(epochs=2, resume=True))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    (tmp_path / "last.ckpt").unlink()
    with pytest.raises(UnfitError, match=r"no last\.ckpt"):
        fit(experiment, tiny_slices, tmp_path, RunLimits(epochs=2, resume=True))


def test_a_run_that_ended_early_is_over(tiny_slices, tmp_path, monkeypatch):
    experiment = replace(SYSTEM, patience=1)
    use_threads(1)
    monkeypatch.setattr(Learner, "_score", lambda *_: 0.5)  # no epoch is better than the first
    first = fit(experiment, tiny_slices, tmp_path, RunLimits(epochs=9))
    assert len(first) == 2
    assert fit(experiment, tiny_slices, tmp_path, RunLimits(epochs=9, resume=True)) == first


class Scored(SimpleNamespace):
    """A trainer that has just validated."""

    def __init__(self, score):
        super().__init__(callback_metrics={"score": score}, is_global_zero=True)


@pytest.mark.parametrize(("keep", "kept"), [("best", [0.5, 0.9]), ("last", [0.5, 0.9, math.nan, 0.1])])
def test_an_undefined_score_takes_no_better_weights_away(keep, kept, tmp_path):
    network = torch.nn.Linear(1, 1)
    learner, writer = (
        SimpleNamespace(experiment=SimpleNamespace(keep=keep), kept=network),
        CheckpointWriter(tmp_path, {}, Schedule(None)),
    )
    written = []
    for score in (0.5, 0.9, math.nan, 0.1):
        (tmp_path / "best.pt").unlink(missing_ok=True)
        writer.on_validation_end(Scored(score), learner)
        if (tmp_path / "best.pt").exists():
            written.append(torch.load(tmp_path / "best.pt", weights_only=True)["score"])
    assert writer.best == 0.9
    assert written == pytest.approx(kept, nan_ok=True)
