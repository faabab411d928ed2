"""What a run writes after every epoch (best weights, record, curves): it can be exported before the training ends."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import structlog
import torch
from lightning.pytorch.callbacks import Callback

from training.loop.learner import Averaged
from training.loop.record import RECORD
from training.loop.schedule import Schedule

log = structlog.get_logger(__name__)


class CheckpointWriter(Callback):
    """Writes best.pt, record.json and curves.png into the run's folder; its state is part of Lightning's checkpoint.

    Args:
        folder: The run's folder.
        record: What the run was given; its history and best score are added.
        clock: Counts the run's minutes.

    Attributes:
        history: One entry per epoch: epoch, loss, val_loss where there is one, score, minutes of the clock, and the
            processor minutes of this process since the run began, which a busy machine does not stretch.
        best: Best score so far.
    """

    def __init__(self, folder: Path, record: dict[str, Any], clock: Schedule) -> None:
        self._folder, self._record, self._clock = folder, record, clock
        self.history: list[dict[str, float]] = []
        self.best = float("-inf")
        self._kept = False
        self._used, self._since = 0.0, time.process_time()

    def on_validation_end(self, trainer: lightning.Trainer, learner: Averaged) -> None:
        """Keeps the weights if there were no better ones, or whatever they are worth where nothing is to choose them.

        best.pt is replaced whole: an export may read it at any time.
        """
        score = float(trainer.callback_metrics["score"])
        better = score >= self.best  # an undefined one is not
        if not trainer.is_global_zero or (learner.experiment.keep == "best" and self._kept and not better):
            return
        self._kept = True
        if better:
            self.best = score
        weights = {key: value.detach().cpu() for key, value in learner.kept.state_dict().items()}
        minutes = self._clock.minutes + float(self._record.get("before", 0.0))
        part = self._folder / "best.part"
        torch.save({"weights": weights, "score": score, "minutes": minutes}, part)
        part.replace(self._folder / "best.pt")

    def on_train_epoch_end(self, trainer: lightning.Trainer, learner: Averaged) -> None:
        """Writes the record; Lightning has validated by now."""
        figures = {key: float(value) for key, value in trainer.callback_metrics.items()}
        processor = self._used + (time.process_time() - self._since) / 60
        used = {"minutes": self._clock.minutes, "processor_minutes": processor}
        self.history.append({"epoch": float(trainer.current_epoch), **figures, **used})
        if not trainer.is_global_zero:
            return
        log.info("epoch", **{key: round(value, 4) for key, value in self.history[-1].items()})
        write_record(self._folder, learner.experiment.name, self._record, self.best, self.history)

    def state_dict(self) -> dict[str, Any]:
        """So that a run that is taken up again knows its past."""
        return {"history": self.history, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""
        self.history, self.best = list(state_dict["history"]), float(state_dict["best"])
        self._kept = bool(self.history)
        self._used = self.history[-1].get("processor_minutes", 0.0) if self.history else 0.0


def write_record(
    folder: Path, name: str, record: Mapping[str, Any], best: float, history: list[dict[str, float]]
) -> None:
    """Writes record.json and curves.png: what a run was given, its best score, and its epochs."""
    content = {**record, "best": best, "history": history}
    part = folder / "record.part"
    part.write_text(json.dumps(content, indent=1, default=dict))
    part.replace(folder / RECORD)
    draw_curves(folder / "curves.png", name, history)


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
