"""What a step and its average do to the weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")

from training.experiments import EXPERIMENTS  # noqa: E402
from training.loop.learner import Learner  # noqa: E402


def test_the_average_follows_the_steps_and_is_what_is_kept():
    learner = Learner(replace(EXPERIMENTS["brats-resunet3d"], options={"widths": (8, 8, 8, 8)}, ema=0.5))
    before = learner.kept.last.bias.clone()
    with torch.no_grad():
        learner.network.last.bias += 1
    for _ in range(12):
        learner.on_train_batch_end()
    torch.testing.assert_close(learner.kept.last.bias, before + 1, atol=2e-3, rtol=0)
    assert learner.kept is not learner.network
