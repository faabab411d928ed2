"""One run of Lightning's trainer: GPUs where there are any, a budget of minutes, early stopping, resumption."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from training.loop.checkpoint import CheckpointWriter
from training.loop.learner import Averaged
from training.loop.schedule import Schedule

Loaders = Callable[[int], tuple[DataLoader[Any], DataLoader[Any]]]


@dataclass(frozen=True)
class RunLimits:
    """When a run ends, and what it runs on.

    Attributes:
        minutes: Wall-clock budget, if there is one; the learning rate follows it.
        epochs: Most epochs; None for as many as the minutes hold.
        devices: GPUs to take, or processes on a processor; None for all GPUs that there are, or one process.
        resume: Take up `last.ckpt` where it was left.
        progress: Show a progress bar.
    """

    minutes: float | None = None
    epochs: int | None = None
    devices: int | None = None
    resume: bool = False
    progress: bool = False


class Patience(EarlyStopping):
    """Early stopping that a run which it has ended remembers when it is taken up again."""

    def on_train_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        """Not one epoch more."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


def use_threads(threads: int | None) -> None:
    """Takes so many processor threads; denormal numbers, slow and worthless, become zero."""
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def train(
    learner: Averaged, folder: Path, record: dict[str, Any], loaders: Loaders, limits: RunLimits
) -> list[dict[str, float]]:
    """Trains; `folder` then holds best.pt, last.ckpt, record.json, curves.png and TensorBoard events.

    Args:
        learner: What is trained.
        folder: Where the run goes (`settle` has made it).
        record: What record.json says beside the history (`settle`).
        loaders: Makes (training, validation) batches for so many processes that share an epoch. Each draws for itself,
            and each validates everything, so that all know the same score.
        limits: See there.

    Returns:
        One entry per epoch, as `CheckpointWriter.history`.
    """
    clock = Schedule(limits.minutes)
    last = folder / "last.ckpt"
    resume = str(last) if limits.resume and last.exists() else None
    writer = CheckpointWriter(folder, record, clock)
    with warnings.catch_warnings():
        _quiet()
        trainer = _trainer(learner, folder, [clock, writer], limits)
        # MONAI's loader seeds its transforms when it is made, before `Averaged.setup`
        torch.manual_seed(learner.seed + trainer.global_rank)
        training, validation = loaders(trainer.world_size)
        trainer.fit(learner, training, validation, ckpt_path=resume, weights_only=True)
    return writer.history


def is_first() -> bool:
    """Whether this process is the one that writes, of those that train together."""
    return bool(lightning.pytorch.utilities.rank_zero_only.rank == 0)


def _trainer(learner: Averaged, folder: Path, callbacks: list[Any], limits: RunLimits) -> lightning.Trainer:
    experiment = learner.experiment
    # the newest one after every epoch: `save_last` without a best one to save writes at the end of the training only
    last = ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False)
    # whose last weights count shall not be ended by a look at what is held out; an undefined score is no better one
    patience = [Patience("score", mode="max", patience=experiment.patience, check_finite=False)]
    return lightning.Trainer(
        accelerator="auto",
        devices="auto" if limits.devices is None else limits.devices,
        # some networks have a head that only another use of them trains
        strategy="ddp_find_unused_parameters_true" if (limits.devices or torch.cuda.device_count()) > 1 else "auto",
        use_distributed_sampler=False,
        precision="bf16-mixed" if experiment.precision == "bf16" or torch.cuda.is_available() else "32-true",
        max_epochs=limits.epochs or -1,
        max_time=None if limits.minutes is None else timedelta(minutes=limits.minutes),
        callbacks=[*callbacks, *(patience if experiment.keep == "best" else []), last],
        logger=TensorBoardLogger(folder, name=None, version=""),
        gradient_clip_val=5.0,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=limits.progress,
        enable_model_summary=False,
    )


def _quiet() -> None:
    """Lightning's advice (workers, accelerators) is for whoever tunes a machine, not for whoever trains by name."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
