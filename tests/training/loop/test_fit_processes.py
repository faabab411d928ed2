"""Two processes train one network: on a processor as on two GPUs, but for the speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the `train` extra")
pytest.importorskip("lightning", reason="training needs the `train` extra")
pytest.importorskip("monai", reason="training needs the `train` extra")

WITNESS = """
import sys
from dataclasses import replace
from pathlib import Path

import torch

from training.loop.train import RunLimits

data, folder = map(Path, sys.argv[1:])
limits = RunLimits(epochs=2, devices=2)
torch.set_num_threads(1)


def witness(learner):
    class Witness(learner):
        def training_step(self, batch, index):
            with (folder / f"drawn-{self.global_rank}").open("a") as file:
                print(float(batch[0].mean()), file=file)
            return super().training_step(batch, index)

        def on_fit_end(self):
            torch.save(self.kept.state_dict(), folder / f"weights-{self.global_rank}.pt")

    return Witness
"""

FIT = """
from training.experiments import EXPERIMENTS
from training.loop import fit

made = fit.learner_for


def learner_for(experiment, held_out):
    learner = made(experiment, held_out)
    learner.__class__ = witness(type(learner))
    return learner


fit.learner_for = learner_for
"""

PUBLISHED = f"""{FIT}
small = {{"options": {{"widths": (16, 16), "dense": 16}}, "size": (32, 32), "held_out": 0.5, "precision": "32"}}
fit.fit(replace(EXPERIMENTS["lgg-two-conv"], batch=4, per_epoch=32, ema=0.5, **small), data, folder, limits)
"""

PREPARED = f"""{FIT}
small = {{"options": {{"widths": (16, 16)}}, "batch": 4, "per_epoch": 32, "held_out": 0.5, "ema": 0.5}}
fit.fit(replace(EXPERIMENTS["lgg-classifier"], **small), data, folder, limits)
"""


@pytest.mark.parametrize("script", [PUBLISHED, PREPARED], ids=["published", "prepared"])
def test_two_processes_draw_their_own_and_end_with_the_same_weights(script, request, tmp_path):
    import torch

    data = request.getfixturevalue("tiny_slices" if script is PUBLISHED else "tiny_lgg")
    (tmp_path / "train.py").write_text(WITNESS + script)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(tmp_path / "train.py"), str(data), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one, other = (np.loadtxt(tmp_path / f"drawn-{rank}") for rank in (0, 1))
    assert len(one) == len(other) == 2 * 32 // 4 // 2  # two epochs, which they share
    assert not np.intersect1d(one, other).size
    kept = torch.load(tmp_path / "best.pt", weights_only=True)["weights"]
    ends = [torch.load(tmp_path / f"weights-{rank}.pt", weights_only=True) for rank in (0, 1)]
    norms = ("running_mean", "running_var", "num_batches_tracked")  # each process has seen its own images
    for name in (name for name in kept if not name.endswith(norms)):
        torch.testing.assert_close(ends[0][name], ends[1][name])
    assert len(json.loads((tmp_path / "record.json").read_text())["history"]) == 2
