"""Figures of a package on what it never saw, with the engine that serves; of runs by slice, with torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.packages.package import ModelPackage
from training.data import dataset
from training.data.case import Case
from training.data.dataset import Unit
from training.data.items import Item
from training.errors import UnfitError
from training.evaluate.cases import Segmented, in_batches, pooled_figures, segmentation_figures
from training.evaluate.figures import Figure, classification_figures
from training.evaluate.gallery import animate_scan, answers_of, median_item, patients_of
from training.evaluate.items import figures_of, look, scores_of
from training.evaluate.overlap import calibration_figure, reliability_diagram
from training.evaluate.pictures import Shown, draw_gallery
from training.evaluate.predict import Predict, by_engine, of_slices
from training.evaluate.threshold import best_accuracy, best_dice_of_cases, choose_threshold
from training.experiment import Experiment
from training.loop.record import data_digest, experiment_of, is_by_slice, read_record
from training.package.network import mean_of
from training.package.origin import check_alike, threshold_of

log = structlog.get_logger(__name__)

THRESHOLD = 0.5
"""Where what is held out is to choose nothing."""


def chosen_threshold(experiment: Experiment, package: ModelPackage, validation: Sequence[Unit]) -> float:
    """From which probability on it counts: chosen on what is held out, unless that is to choose nothing."""
    if experiment.keep == "last":
        return THRESHOLD
    with open_engine(package, EngineSettings()) as engine:
        predict = by_engine(engine)
        if not experiment.prepared:
            return choose_threshold(experiment, predict, validation)
        if experiment.task == "classification":
            return best_accuracy(
                *(np.concatenate(column) for column in zip(*_scored(predict, validation), strict=True))
            )
        segmented = [Segmented.of(predict, case) for case in validation]
        return best_dice_of_cases(segmented, len(experiment.classes))


def measure(
    experiment: Experiment,
    package: ModelPackage,
    units: Sequence[Unit],
    pictures: Path | None = None,
    settings: EngineSettings | None = None,
) -> list[Figure]:
    """Figures with the engine that serves, at the package's threshold.

    Args:
        experiment: What the package was made of.
        package: What is measured.
        units: Nothing of what it was trained on.
        pictures: A folder for gallery.png, and gallery.gif (scans) or reliability.png (classification).
        settings: Of the engine; the fastest that there is if None.

    Raises:
        UnfitError: The package is of an older export, which was asked otherwise.
    """
    if package.manifest.preprocessing.neighbours != experiment.neighbours:
        raise UnfitError(
            reason=f"{package.name} {package.version} was exported for whole volumes: export its run again"
        )
    with open_engine(package, settings) as engine:
        log.info("engine", description=str(engine.description))
        looked = _measure_cases if experiment.prepared else _measure_items
        return looked(experiment, package, by_engine(engine), units, pictures)


def _scored(predict: Predict, cases: Sequence[Case]) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    return [(in_batches(predict, case)[:, 0].astype(np.float64), case.shows(0)) for case in cases]


def _measure_cases(
    experiment: Experiment, package: ModelPackage, predict: Predict, cases: Sequence[Case], pictures: Path | None
) -> list[Figure]:
    threshold, name = threshold_of(package), experiment.classes[0]
    if experiment.task == "classification":
        scored = _scored(predict, cases)
        if pictures is not None:
            draw_gallery(pictures / "gallery.png", answers_of(cases, [scores for scores, _ in scored]))
            _draw_reliability(pictures, package, scored)
        return [*classification_figures(scored, name, threshold), calibration_figure(name, scored)]
    segmented = [Segmented.of(predict, case) for case in cases]
    segmented = [each.as_sent(threshold, package.manifest.thresholds.min_volume_ml) for each in segmented]
    if pictures is not None:
        draw_gallery(pictures / "gallery.png", patients_of(segmented, len(experiment.classes) - 1, threshold))
    return segmentation_figures(segmented, experiment.classes, threshold)


def _measure_items(
    experiment: Experiment, package: ModelPackage, predict: Predict, items: Sequence[Item], pictures: Path | None
) -> list[Figure]:
    threshold, shown = threshold_of(package), list[Shown]()
    patients = look(experiment, predict, items, threshold, None if pictures is None else shown)
    if pictures is not None:
        draw_gallery(pictures / "gallery.png", shown)
        if shown and len(experiment.size) == 3:
            animate_scan(pictures / "gallery.gif", experiment, predict, median_item(items, shown), threshold)
        if experiment.task == "classification":
            _draw_reliability(pictures, package, scores_of(patients))
    return figures_of(experiment, patients, threshold)


def _draw_reliability(
    pictures: Path, package: ModelPackage, scored: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]
) -> None:
    scores, truth = (np.concatenate(column) for column in zip(*scored, strict=True))
    reliability_diagram(pictures / "reliability.png", scores, truth, package.name)


def measure_runs(runs: Sequence[Path], data: Path) -> list[Figure]:
    """Figures of runs that were split by slice, as publications split: for comparison, never for a package.

    With torch, on the slices that were held out; of several runs the mean of their logits answers.

    Raises:
        UnfitError: They are no runs by slice, of experiments that do not go together, or not of this data.
    """
    for run in runs:
        if not is_by_slice(run):
            raise UnfitError(reason=f"{run}: expected a run on prepared slices, trained with --split slice")
    experiments = [experiment_of(run) for run in runs]
    check_alike(experiments)
    if {read_record(run)["data_digest"] for run in runs} != {data_digest(data)}:
        raise UnfitError(reason=f"{data} is not the data that they were trained on, so other slices would be held out")
    held_out = dataset.split(experiments[0], dataset.read(experiments[0], data)).validation
    predict, classes = of_slices(mean_of(experiments, runs), 0), experiments[0].classes
    segmented = [Segmented.of(predict, case) for case in held_out]
    figures = segmentation_figures(segmented, classes, THRESHOLD) + pooled_figures(segmented, classes, THRESHOLD)
    for figure in figures:
        log.info("figure_by_slice", experiments=[one.name for one in experiments], figure=str(figure))
    return figures
