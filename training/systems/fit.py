"""`scanward train NAME` for a published system: seeds, early stopping, best checkpoint, resumption, curves, record."""

from __future__ import annotations

import json
import logging
import warnings
from datetime import timedelta
from pathlib import Path

import lightning
import structlog
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from training.classic import System
from training.systems.examples import batches
from training.systems.keep import Keeper
from training.systems.learn import Learner
from training.systems.record import describe, write_split
from training.systems.schedule import Schedule
from training.systems.solve import Memory, solve_system
from training.systems.start import first_weights

log = structlog.get_logger(__name__)


def fit_system(
    system: System,
    data: Path,
    folder: Path,
    *,
    minutes: float | None = None,
    epochs: int | None = None,
    resume: bool = False,
    initial: Path | None = None,
    workers: int = 0,
    progress: bool = False,
    memory: Memory | None = None,
) -> list[dict[str, float]]:
    """Trains `system`; `folder` then holds weights, checkpoint, record, curves, split and TensorBoard events.

    Args:
        system: What to train.
        data: The data set, as published.
        folder: Where the run goes.
        minutes: Wall-clock budget, if there is one.
        epochs: Most epochs, instead of the system's.
        resume: Take up `folder/last.ckpt` where it was left.
        initial: A best.pt to start from, or the folder of a package that the system was exported to.
        workers: Processes that read images.
        progress: Show a progress bar.
        memory: Where the system is solved: what other runs with the same encoder have looked at.

    Where the system is solved and not trained (`System.solve`), only the first three matter, and `memory`.

    Returns:
        One entry per epoch: epoch, loss, val_loss, score.
    """
    lightning.seed_everything(system.seed, workers=True, verbose=False)
    if system.solve:
        return solve_system(system, data, folder, memory)
    items = system.items(data)
    training, validation, test = system.parts(items)
    folder.mkdir(parents=True, exist_ok=True)
    write_split(folder, system, validation, test)
    learner, record = Learner(system), describe(system, data, len(training), initial)
    before = folder / "record.json"
    if resume and before.exists():
        record["initial"] = json.loads(before.read_text()).get("initial")
    loader = batches(system, training, training=True, workers=workers)
    if initial is not None:
        learner.start_from(first_weights(learner.network, initial, loader))
    last = folder / "last.ckpt"
    log.info("training", name=system.name, items=len(training), validation=len(validation), test=len(test))
    keeper = Keeper(folder, record)
    with warnings.catch_warnings():
        _quiet()
        trainer = _trainer(system, folder, keeper, minutes=minutes, epochs=epochs, progress=progress)
        trainer.fit(
            learner,
            loader,
            batches(system, validation, training=False, workers=workers),
            ckpt_path=str(last) if resume and last.exists() else None,
            weights_only=True,
        )
    return keeper.history


def _trainer(
    system: System, folder: Path, keeper: Callback, *, minutes: float | None, epochs: int | None, progress: bool
) -> lightning.Trainer:
    # the newest one after every epoch: `save_last` without a best one to save writes at the end of the training only
    last = ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False)
    patience = EarlyStopping("score", mode="max", patience=system.patience)
    return lightning.Trainer(
        accelerator="auto",
        devices="auto",
        precision="bf16-mixed" if system.precision == "bf16" or torch.cuda.is_available() else "32-true",
        max_epochs=epochs or system.epochs,
        max_time=None if minutes is None else timedelta(minutes=minutes),
        callbacks=[Schedule(minutes), keeper, patience, last],
        logger=TensorBoardLogger(folder, name=None, version=""),
        gradient_clip_val=5.0,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=progress,
        enable_model_summary=False,
    )


def _quiet() -> None:
    """Lightning's advice (workers, accelerators) is for whoever tunes a machine, not for whoever trains by name."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
