"""Figures of a model package on patients it never saw, with the engine that serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from engines.activation import probabilities
from engines.choose import open_engine
from engines.contract import Engine, EngineSettings
from engines.package import ModelPackage
from training.data.case import Case
from training.evaluate.figures import (
    Figure,
    Segmented,
    area_under_curve,
    classification_figures,
    in_batches,
    segmentation_figures,
)
from training.evaluate.gallery_cases import answers_of, patients_of
from training.evaluate.overlap import calibration_figure, reliability_diagram
from training.evaluate.pictures import draw_gallery
from training.recipes import Recipe

log = structlog.get_logger(__name__)


def measure(
    recipe: Recipe,
    package: ModelPackage,
    held_out: Sequence[Case],
    threshold: float | None = None,
    pictures: Path | None = None,
    *,
    settings: EngineSettings | None = None,
) -> tuple[float, list[Figure]]:
    """Figures of the package on patients it never saw, and the threshold (chosen on the same patients, if None).

    Args:
        recipe: What the package was made of.
        package: What is measured.
        held_out: The patients.
        threshold: From which probability on it counts.
        pictures: A folder for gallery.png, and for a classifier reliability.png.
        settings: Of the engine; the fastest that there is if None.
    """
    with open_engine(package, settings) as engine:
        log.info("engine", description=str(engine.description))
        if recipe.task == "classification":
            scored = [_slice_scores(engine, case) for case in held_out]
            threshold = threshold or _best_threshold_of_slices(scored)
            if pictures is not None:
                draw_gallery(pictures / "gallery.png", answers_of(held_out, [scores for scores, _ in scored]))
                joined = [np.concatenate(column) for column in zip(*scored, strict=True)]
                reliability_diagram(pictures / "reliability.png", joined[0], joined[1], package.name)
            name = recipe.classes[0]
            return threshold, [*classification_figures(scored, name, threshold), calibration_figure(name, scored)]
        segmented = [Segmented.of(lambda inputs: infer(engine, inputs), case) for case in held_out]
    threshold = threshold or _best_threshold(segmented, len(recipe.classes))
    segmented = [each.as_sent(threshold, package.manifest.thresholds.min_volume_ml) for each in segmented]
    if pictures is not None:
        draw_gallery(pictures / "gallery.png", patients_of(segmented, len(recipe.classes) - 1, threshold))
    return threshold, segmentation_figures(segmented, recipe.classes, threshold)


def infer(engine: Engine, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of the package's only output."""
    outputs = engine.infer({"image": np.ascontiguousarray(inputs)})
    answer: NDArray[np.float32] = probabilities(engine.package.manifest, outputs)["logits"]
    return answer


def _slice_scores(engine: Engine, case: Case) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores = in_batches(lambda inputs: infer(engine, inputs), case)[:, 0].astype(np.float64)
    return scores, np.asarray(case.masks[:, 0].any(axis=(1, 2)), bool)


def _best_threshold(segmented: Sequence[Segmented], classes: int) -> float:
    """The threshold in steps of 0.05 with the best Dice by patient, mean over patients and then over classes."""

    def mean_dice(threshold: float) -> float:
        by_class = [[s.dice(channel, threshold) for s in segmented] for channel in range(classes)]
        return float(np.mean([np.mean([d for d in dices if d is not None]) for dices in by_class]))

    return round(float(max(np.arange(0.3, 0.71, 0.05), key=mean_dice)), 2)


def _best_threshold_of_slices(scored: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> float:
    scores, truth = (np.concatenate(column) for column in zip(*scored, strict=True))
    if np.isnan(area_under_curve(scores, truth)):
        return 0.5
    return round(float(max(np.arange(0.2, 0.81, 0.05), key=lambda t: float(((scores >= t) == truth).mean()))), 2)
