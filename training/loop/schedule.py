"""The learning rate over a run: by epochs, or by the wall clock where a budget was set."""

from __future__ import annotations

import time
from math import cos, pi
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from training.loop.learner import Averaged


def schedule(share: float) -> float:
    """Factor of the learning rate: 3 % linear warm-up, then half a cosine to 1 %."""
    if share < 0.03:
        return 0.05 + 0.95 * share / 0.03
    return 0.01 + 0.99 * 0.5 * (1 + cos(pi * min(1.0, (share - 0.03) / 0.97)))


class Schedule(Callback):
    """Warm-up and half a cosine over the run, whichever ends it sooner: its epochs or its minutes.

    On a shared machine nobody knows how many steps an hour holds; a schedule by epochs alone would end half way down.
    """

    def __init__(self, minutes: float | None) -> None:
        self._minutes, self._used, self._since = minutes, 0.0, 0.0

    @property
    def minutes(self) -> float:
        """Minutes of the clock used so far; those of a run that was taken up again count from its beginning."""
        return (self._used + (time.monotonic() - self._since if self._since else 0.0)) / 60

    def on_train_start(self, trainer: lightning.Trainer, learner: Averaged) -> None:
        """The clock starts; what a run that is taken up again has used already counts."""
        self._since = time.monotonic()

    def on_train_batch_start(self, trainer: lightning.Trainer, learner: Averaged, *_: Any) -> None:
        """Sets the rate of the step that comes."""
        share = trainer.global_step / max(1, trainer.estimated_stepping_batches)
        if self._minutes:
            share = max(share, self.minutes / self._minutes)
        if trainer.world_size > 1:  # clocks differ, and weights would drift apart with the rates
            share = trainer.strategy.broadcast(share)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = learner.experiment.learning_rate * schedule(min(1.0, share))

    def state_dict(self) -> dict[str, Any]:
        """Seconds used so far."""
        return {"used": self.minutes * 60}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""
        self._used = float(state_dict["used"])
