"""Published images: what a network makes of them, and figures by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.examples import target
from training.data.items import Item
from training.evaluate.figures import Figure, classification_figures
from training.evaluate.gallery import show_answer, show_masks
from training.evaluate.overlap import (
    Mask,
    Overlap,
    Scores,
    calibration_figure,
    overlap_figures,
    surface_distances,
    surface_figures,
)
from training.evaluate.pictures import Shown
from training.evaluate.predict import Predict, masks, predict_item
from training.experiment import Experiment


@dataclass
class Patient:
    """What was found in one patient's items (or one cluster of pictures).

    Attributes:
        overlaps: Of each class but the background, over all items.
        surfaces: Of each class but the background; scans only, slices have no surface.
        false: Of each class but the background, (items without it that got some, items without it); slices only.
        scores: Of each item, for a classification.
        truth: Likewise.
    """

    overlaps: list[Overlap] = field(default_factory=list)
    surfaces: list[tuple[float, float] | None] = field(default_factory=list)
    false: list[tuple[int, int]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    truth: list[bool] = field(default_factory=list)


def look(
    experiment: Experiment,
    predict: Predict,
    items: Sequence[Item],
    threshold: float = 0.5,
    shown: list[Shown] | None = None,
) -> list[Patient]:
    """Runs the network over all items, patient by patient; puts what it made of each into `shown`, if there is one."""
    patients: dict[str, Patient] = {}
    for item in items:
        image, truth = item.read()
        answer = predict_item(experiment, predict, image)
        patient = patients.setdefault(owner(experiment, item), Patient())
        if experiment.task == "classification":
            said, real = float(answer[0]), bool(target(experiment, truth)[0])
            patient.scores.append(said)
            patient.truth.append(real)
            if shown is not None:
                shown.append(show_answer(item, said, real))
            continue
        first = 1 if experiment.activation == "softmax" else 0
        found, wanted = masks(experiment, answer, threshold)[first:], truth[first:] > 0
        count(experiment, patient, item, found, wanted)
        if shown is not None and item.positive:
            shown.append(show_masks(experiment, item, found, wanted))
    return list(patients.values())


def owner(experiment: Experiment, item: Item) -> str:
    """Whose figure an item counts for: the 2013 scans share a group so that no split parts them, yet each counts."""
    return item.name if len(experiment.size) == 3 else item.group


def count(experiment: Experiment, patient: Patient, item: Item, found: NDArray[Any], wanted: NDArray[Any]) -> None:
    """Adds an item's masks (classes but the background, ...) to its patient."""
    pairs = list(zip(found, wanted, strict=True))
    overlaps = [Overlap.of(*pair) for pair in pairs]
    before = patient.overlaps
    patient.overlaps = [a + b for a, b in zip(before, overlaps, strict=True)] if before else overlaps
    if len(experiment.size) == 3:
        tolerance = tolerance_mm(experiment)
        patient.surfaces = [surface_distances(*pair, item.spacing, tolerance) for pair in pairs]
        return
    false = [(int(mask.any()), 1) if not real.any() else (0, 0) for mask, real in pairs]
    added = [(a + c, b + d) for (a, b), (c, d) in zip(patient.false, false, strict=False)]
    patient.false = added or false


def tolerance_mm(experiment: Experiment) -> float:
    """How far apart surfaces may be: a voxel of a prepared brain, 2 mm elsewhere."""
    return 2.0 if experiment.served_size is None else 1.0


def figures_of(experiment: Experiment, patients: Sequence[Patient], threshold: float = 0.5) -> list[Figure]:
    """All figures, with intervals by bootstrap over patients."""
    if experiment.task == "classification":
        scored = scores_of(patients)
        figures = classification_figures(scored, experiment.classes[0], threshold)
        return [*figures, calibration_figure(experiment.classes[0], scored)]
    names = experiment.classes[1:] if experiment.activation == "softmax" else experiment.classes
    figures = []
    for channel, name in enumerate(names):
        overlaps = [patient.overlaps[channel] for patient in patients]
        figures += overlap_figures(name, overlaps)
        together = sum(overlaps[1:], overlaps[0])
        figures.append(Figure(f"{name}: Tversky (0.7, 0.3), all pixels together", together.tversky(), len(overlaps)))
        if all(patient.surfaces for patient in patients):
            surfaces = [patient.surfaces[channel] for patient in patients]
            figures += surface_figures(name, surfaces, tolerance_mm(experiment))
        false, empty = (sum(p.false[channel][i] for p in patients if p.false) for i in (0, 1))
        if empty:
            figures.append(Figure(f"{name}: slices without it that stay empty", 1 - false / empty, empty))
    return figures


def scores_of(patients: Sequence[Patient]) -> list[tuple[Scores, Mask]]:
    """(scores, truth) of each patient, as `training.evaluate.figures` takes them."""
    return [(np.array(p.scores, np.float64), np.array(p.truth, bool)) for p in patients]
