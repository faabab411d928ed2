"""`scanward train NAME`: seeds, split, first weights, and the run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning
import structlog
import torch
from torch.utils.data import DataLoader

from training.data import dataset
from training.data.case import Samples, gather
from training.data.dataset import Parts
from training.data.draw import Draw, Draws
from training.data.examples import batches
from training.data.layouts.brats_slices import brats_slices
from training.data.phantoms import phantom_cases
from training.errors import UnfitError
from training.experiment import Experiment
from training.loop.first_weights import first_weights
from training.loop.learner import Averaged, learner_for
from training.loop.linear_probe import Memory, solve
from training.loop.record import beginning, settle, surroundings
from training.loop.train import Loaders, RunLimits, train
from training.package.sources import data_of

log = structlog.get_logger(__name__)

PHANTOMS = 24
"""How many are mixed into prepared slices, unless told otherwise."""


def fit(
    experiment: Experiment,
    data: Path,
    folder: Path,
    limits: RunLimits | None = None,
    *,
    phantoms: int = 0,
    more: Path | None = None,
    initial: Path | None = None,
    workers: int = 0,
    memory: Memory | None = None,
) -> list[dict[str, float]]:
    """Trains; `folder/best.pt` can be exported at any time meanwhile.

    Args:
        experiment: What to train.
        data: The data set, as published.
        folder: Where the run goes: weights, checkpoint, record, curves, split and TensorBoard events.
        limits: When it ends; the experiment's minutes and epochs where they do not say.
        phantoms: How many to mix in; prepared slices only.
        more: A further data set to mix in, of the kind that the experiment names.
        initial: A best.pt to start from, or the folder of a package that a published one was exported to.
        workers: Processes that read and vary images beside.
        memory: Where the experiment is solved: what other runs with the same encoder have looked at.

    Returns:
        One entry per epoch: epoch, loss, val_loss where there is one, score, minutes.

    Raises:
        UnfitError: `more` for an experiment that mixes nothing in, or a run that was begun otherwise.
    """
    if more is not None and experiment.more is None:
        raise UnfitError(reason=f"{experiment.name}: expected no further data set, received {more}")
    lightning.seed_everything(experiment.seed + experiment.variant, workers=True, verbose=False)
    parts = dataset.split(experiment, dataset.read(experiment, data))
    number = {"training": len(parts.training), "validation": len(parts.validation), "test": len(parts.test)}
    log.info("training", name=experiment.name, **number)
    if experiment.solve:
        record = _record(experiment, data, parts, None, {})
        write_split(folder, experiment, parts)
        return solve(experiment, parts, folder, record, memory)
    limits = _limits(experiment, limits or RunLimits())
    mixed = _mixed(experiment, phantoms, more)
    record = settle(folder, _record(experiment, data, parts, initial, mixed), resume=limits.resume)
    write_split(folder, experiment, parts)
    learner = learner_for(experiment, parts.validation)
    if initial is not None:
        record.setdefault("before", _start(learner, initial, parts))
    return train(learner, folder, record, _loaders(experiment, parts, mixed, workers), limits)


def _limits(experiment: Experiment, limits: RunLimits) -> RunLimits:
    told = limits.minutes is not None or limits.epochs is not None
    minutes = limits.minutes if told else experiment.minutes
    return replace(limits, minutes=minutes, epochs=limits.epochs or experiment.epochs)


def _mixed(experiment: Experiment, phantoms: int, more: Path | None) -> dict[str, Samples]:
    """What is mixed into prepared slices."""
    found = {}
    if phantoms and experiment.prepared:
        found["phantoms"] = gather(phantom_cases(experiment.inputs, phantoms, experiment.seed))
    if more is not None:
        found["more"] = brats_slices(more)
    return found


def _loaders(experiment: Experiment, parts: Parts, mixed: dict[str, Samples], workers: int) -> Loaders:
    if experiment.prepared:
        draw = Draw(experiment, gather(parts.training), mixed.get("phantoms"), mixed.get("more"))
        return lambda processes: (
            DataLoader(Draws(draw, processes), batch_size=None, num_workers=workers),
            DataLoader(range(len(parts.validation)), batch_size=None),
        )
    return lambda processes: (
        batches(experiment, parts.training, training=True, workers=workers, processes=processes),
        batches(experiment, parts.validation, training=False, workers=workers),
    )


def _start(learner: Averaged, initial: Path, parts: Parts) -> float:
    """Takes the weights of another run or package; returns the minutes of training that are behind them."""
    if learner.experiment.prepared:
        state = torch.load(initial, weights_only=True)
        missing = learner.start_from(state["weights"], whole=False)
        log.info("initial_weights", missing=len(missing))
        return float(state["minutes"])
    seen: Iterable[Any] = batches(learner.experiment, parts.training, training=True)
    learner.start_from(first_weights(learner.network, initial, seen))
    return 0.0


def _record(
    experiment: Experiment, data: Path, parts: Parts, initial: Path | None, mixed: dict[str, Samples]
) -> dict[str, Any]:
    """What a run's record says beside its history."""
    counts = {name: len(mixed[name]) if name in mixed else 0 for name in ("phantoms", "more")}
    begun = beginning(initial)
    trained_on = len({unit.group for unit in parts.training})
    sources = data_of([experiment], trained_on, counts["more"], begun["inherited"])
    given = {"experiment": asdict(experiment), **counts, **begun}
    return given | surroundings(data, len(parts.training), sources)


def write_split(folder: Path, experiment: Experiment, parts: Parts) -> None:
    """Names of the patients, or slices, that are held out: held_out.json."""
    folder.mkdir(parents=True, exist_ok=True)
    held_out = {"validation": parts.validation, "test": parts.test}
    content = {"by": experiment.split, **{name: dataset.names(experiment, part) for name, part in held_out.items()}}
    (folder / "held_out.json").write_text(json.dumps(content, indent=1))
