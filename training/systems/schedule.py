"""The learning rate over a run: by epochs, or by the wall clock where a budget was set."""

from __future__ import annotations

import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from training.fit import schedule
from training.systems.learn import Learner


class Schedule(Callback):
    """Warm-up and half a cosine over the run, whichever ends it sooner: its epochs or its minutes.

    On a shared machine nobody knows how many steps an hour holds; a schedule by epochs alone would end half way down.
    """

    def __init__(self, minutes: float | None) -> None:
        self._minutes, self._used, self._since = minutes, 0.0, 0.0

    def on_train_start(self, trainer: lightning.Trainer, learner: Learner) -> None:
        """The clock starts; what a run that is taken up again has used already counts."""
        self._since = time.monotonic()

    def on_train_batch_start(self, trainer: lightning.Trainer, learner: Learner, *_: Any) -> None:
        """Sets the rate of the step that comes."""
        share = trainer.global_step / max(1, trainer.estimated_stepping_batches)
        if self._minutes:
            share = max(share, self._seconds() / (60 * self._minutes))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = learner.system.learning_rate * schedule(min(1.0, share))

    def _seconds(self) -> float:
        return self._used + time.monotonic() - self._since

    def state_dict(self) -> dict[str, Any]:
        """Seconds used so far."""
        return {"used": self._seconds() if self._since else self._used}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `state_dict`."""
        self._used = float(state_dict["used"])
