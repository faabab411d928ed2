"""The learning rate follows the clock or the steps."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")

from training.experiments import EXPERIMENTS  # noqa: E402
from training.loop import schedule  # noqa: E402
from training.loop.schedule import Schedule  # noqa: E402


def test_the_rate_falls_by_the_clock_or_by_the_steps_whichever_is_further(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(schedule.time, "monotonic", lambda: now[0])
    trainer = SimpleNamespace(
        global_step=0,
        estimated_stepping_batches=1000,
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.0}])],
        world_size=1,
    )
    learner = SimpleNamespace(experiment=EXPERIMENTS["brats-resunet3d"])

    def rate(callback):
        callback.on_train_batch_start(trainer, learner, None, 0)
        return trainer.optimizers[0].param_groups[0]["lr"] / EXPERIMENTS["brats-resunet3d"].learning_rate

    clock = Schedule(minutes=10)
    clock.on_train_start(trainer, learner)
    assert rate(clock) == pytest.approx(0.05)
    now[0] += 60
    early = rate(clock)
    now[0] += 480
    late = rate(clock)
    assert late < 0.05 < early

    resumed = Schedule(minutes=10)
    resumed.load_state_dict(clock.state_dict())
    resumed.on_train_start(trainer, learner)
    assert rate(resumed) == pytest.approx(late)

    by_steps = Schedule(minutes=None)
    by_steps.on_train_start(trainer, learner)
    trainer.global_step = 1000
    assert rate(by_steps) == pytest.approx(0.01)
