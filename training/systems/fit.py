"""`scanward train NAME` for a published system: seeds, early stopping, best checkpoint, resumption, curves, record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightning
import structlog

from training.data.examples import batches
from training.experiment import System
from training.loop.first_weights import first_weights
from training.loop.record import settle
from training.loop.solve import Memory, solve_system
from training.loop.train import Limits, train
from training.systems.learn import Learner
from training.systems.record import describe, write_split

log = structlog.get_logger(__name__)


def fit_system(
    system: System,
    data: Path,
    folder: Path,
    limits: Limits | None = None,
    *,
    initial: Path | None = None,
    workers: int = 0,
    memory: Memory | None = None,
) -> list[dict[str, float]]:
    """Trains `system`; `folder` then holds weights, checkpoint, record, curves, split and TensorBoard events.

    Args:
        system: What to train.
        data: The data set, as published.
        folder: Where the run goes.
        limits: When it ends; after the system's epochs if they do not say.
        initial: A best.pt to start from, or the folder of a package that the system was exported to.
        workers: Processes that read images.
        memory: Where the system is solved: what other runs with the same encoder have looked at.

    Where the system is solved and not trained (`System.solve`), only the first three matter, and `memory`.

    Returns:
        One entry per epoch: epoch, loss, val_loss, score, minutes.
    """
    lightning.seed_everything(system.seed, workers=True, verbose=False)
    if system.solve:
        return solve_system(system, data, folder, memory)
    limits = limits or Limits()
    training, validation, test = system.parts(system.items(data))
    record = settle(folder, describe(system, data, training, initial), resume=limits.resume)
    write_split(folder, system, validation, test)
    learner = Learner(system)
    if initial is not None:
        learner.start_from(first_weights(learner.network, initial, batches(system, training, training=True)))
    log.info("training", name=system.name, items=len(training), validation=len(validation), test=len(test))
    return train(
        learner,
        folder,
        record,
        lambda processes: (
            batches(system, training, training=True, workers=workers, processes=processes),
            batches(system, validation, training=False, workers=workers),
        ),
        replace(limits, epochs=limits.epochs or system.epochs),
    )
