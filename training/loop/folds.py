"""Cross-validation: every item is predicted once, by a network that was not trained on it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import structlog

from training.data import dataset
from training.evaluate.figures import Figure
from training.evaluate.items import Patient, figures_of, look, scores_of
from training.evaluate.overlap import reliability_diagram
from training.evaluate.predict import by_torch
from training.experiment import Experiment
from training.loop.fit import fit
from training.loop.linear_probe import Memory
from training.loop.train import RunLimits
from training.package.network import mean_of

log = structlog.get_logger(__name__)


def cross_validate(
    experiment: Experiment,
    data: Path,
    folder: Path,
    folds: int,
    limits: RunLimits | None = None,
    *,
    initial: Path | None = None,
) -> list[Figure]:
    """Trains one network per fold and measures them all together; `folder` holds a run per fold and figures.json.

    The last weights of each run are measured, so what is held out chooses nothing. A fold that is there already is not
    trained again.

    Args:
        experiment: What to train.
        data: The data set, as published.
        folder: Where the runs go.
        folds: How many.
        limits: When the training of each ends.
        initial: As of `training.loop.fit.fit`.

    Returns:
        Figures over all items, as `figures_of` names them; for a classification also by fold.
    """
    patients: list[list[Patient]] = []
    memory: Memory = {}
    for fold in range(folds):
        one, run = replace(experiment, folds=folds, fold=fold, keep="last"), folder / f"fold-{fold}"
        if not (run / "done").exists():
            fit(one, data, run, limits, initial=initial, memory=memory)
            (run / "done").touch()
        held_out = dataset.split(one, dataset.read(one, data)).validation
        patients.append(look(one, by_torch(one, mean_of([one], [run])), held_out))
        log.info("fold", fold=fold, figures=[str(figure) for figure in figures_of(one, patients[-1])])
    together = [patient for fold in patients for patient in fold]
    figures = figures_of(experiment, together)
    if experiment.task == "classification":
        figures.append(_by_fold(experiment, patients))
        scores, truth = (np.concatenate(column) for column in zip(*scores_of(together), strict=True))
        reliability_diagram(folder / "reliability.png", scores, truth, f"{experiment.name}, {folds} folds")
    (folder / "figures.json").write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    return figures


def _by_fold(experiment: Experiment, folds: list[list[Patient]]) -> Figure:
    """Mean accuracy over folds; the interval is the worst and the best fold's."""
    accuracies = []
    for fold in folds:
        scores, truth = (np.concatenate(column) for column in zip(*scores_of(fold), strict=True))
        accuracies.append(float(((scores >= 0.5) == truth).mean()))
    name = f"{experiment.classes[0]}: accuracy, mean over folds (worst to best)"
    return Figure(name, float(np.mean(accuracies)), len(folds), (min(accuracies), max(accuracies)))
