"""What a run leaves behind, written after every epoch, so that an export needs no end of the training."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from training.systems.learn import Learner


class Keeper(Callback):
    """Writes best.pt, record.json and curves.png into the run's folder; its state is part of Lightning's checkpoint.

    Attributes:
        history: One entry per epoch: epoch, loss, val_loss, score, and the processor minutes of this process since the
            run began, which a busy machine does not stretch as it stretches the clock's.
        best: Best score so far.
    """

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self._folder, self._record = folder, record
        self.history: list[dict[str, float]] = []
        self.best = float("-inf")
        self._used, self._since = 0.0, time.process_time()

    def on_validation_end(self, trainer: lightning.Trainer, learner: Learner) -> None:
        """Keeps the weights if there were no better ones, or whatever they are worth where nothing is to choose them.

        best.pt is as in a recipe's run, and replaced whole.
        """
        score = float(trainer.callback_metrics["score"])
        if (score < self.best and learner.system.keep == "best") or not trainer.is_global_zero:
            return
        self.best = score
        weights = {key: value.detach().cpu() for key, value in learner.kept.state_dict().items()}
        part = self._folder / "best.part"
        torch.save({"weights": weights, "score": score}, part)
        part.replace(self._folder / "best.pt")

    def on_train_epoch_end(self, trainer: lightning.Trainer, learner: Learner) -> None:
        """Writes the record; Lightning has validated by now."""
        figures = {key: float(value) for key, value in trainer.callback_metrics.items()}
        minutes = self._used + (time.process_time() - self._since) / 60
        self.history.append({"epoch": float(trainer.current_epoch), **figures, "processor_minutes": minutes})
        if not trainer.is_global_zero:
            return
        write_record(self._folder, self._record, self.best, self.history)

    def state_dict(self) -> dict[str, Any]:
        """So that a run that is taken up again knows its past."""
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""
        self.history, self.best = list(state_dict["history"]), float(state_dict["best"])
        self._used = self.history[-1].get("processor_minutes", 0.0) if self.history else 0.0


def write_record(folder: Path, record: Mapping[str, Any], best: float, history: list[dict[str, float]]) -> None:
    """Writes record.json and curves.png: what a run was given (`describe`), its best score, and its epochs."""
    content = {**record, "best": best, "history": history}
    (folder / "record.json").write_text(json.dumps(content, indent=1, default=dict))
    draw_curves(folder / "curves.png", record["system"]["name"], history)


def draw_curves(path: Path, title: str, history: list[dict[str, float]]) -> None:
    """Losses and score by epoch."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(8, 3.5), layout="constrained")
    for axes, keys in zip(canvas.subplots(1, 2), (("loss", "val_loss"), ("score",)), strict=True):
        for key in keys:
            points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
            axes.plot([x for x, _ in points], [y for _, y in points], marker=".", label=key)
        axes.set(xlabel="epoch", title=title)
        axes.legend()
    canvas.savefig(path, dpi=120)
