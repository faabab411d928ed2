"""Figures of a system on items that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from training.classic import System
from training.data.items import Item
from training.evaluate import Figure, classification_figures
from training.figures import (
    Mask,
    Overlap,
    Scores,
    calibration_figure,
    overlap_figures,
    surface_distances,
    surface_figures,
)
from training.systems.examples import target
from training.systems.predict import Predict, masks, predict_item

TOLERANCE_MM = 2.0


@dataclass
class Patient:
    """What was found in one patient's items (or one cluster of pictures).

    Attributes:
        overlaps: Of each class but the background, over all items.
        surfaces: Of each class but the background; scans only, slices have no surface.
        scores: Of each item, for a classification.
        truth: Likewise.
    """

    overlaps: list[Overlap] = field(default_factory=list)
    surfaces: list[tuple[float, float] | None] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    truth: list[bool] = field(default_factory=list)


def look(system: System, predict: Predict, items: Sequence[Item], threshold: float = 0.5) -> list[Patient]:
    """Runs the network over all items, patient by patient."""
    patients: dict[str, Patient] = {}
    for item in items:
        # the 2013 cases share a group so that no split parts them; a figure by patient counts each scan
        key = item.name if len(system.size) == 3 else item.group
        _look_at(system, predict, item, patients.setdefault(key, Patient()), threshold)
    return list(patients.values())


def _look_at(system: System, predict: Predict, item: Item, patient: Patient, threshold: float) -> None:
    image, truth = item.read()
    probability = predict_item(system, predict, image)
    if system.task == "classification":
        patient.scores.append(float(probability[0]))
        patient.truth.append(bool(target(system, truth)[0]))
        return
    first = 1 if system.activation == "softmax" else 0
    pairs = list(zip(masks(system, probability, threshold)[first:], truth[first:] > 0, strict=True))
    found = [Overlap.of(mask, wanted) for mask, wanted in pairs]
    patient.overlaps = [a + b for a, b in zip(patient.overlaps, found, strict=True)] if patient.overlaps else found
    if len(system.size) == 3:
        patient.surfaces = [surface_distances(mask, wanted, item.spacing, TOLERANCE_MM) for mask, wanted in pairs]


def figures_of(system: System, patients: Sequence[Patient], threshold: float = 0.5) -> list[Figure]:
    """All figures, with intervals by bootstrap over patients."""
    if system.task == "classification":
        scored = scores_of(patients)
        figures = classification_figures(scored, system.classes[0], threshold)
        return [*figures, calibration_figure(system.classes[0], scored)]
    names = system.classes[1:] if system.activation == "softmax" else system.classes
    figures = []
    for channel, name in enumerate(names):
        overlaps = [patient.overlaps[channel] for patient in patients]
        figures += overlap_figures(name, overlaps)
        together = sum(overlaps[1:], overlaps[0])
        figures.append(Figure(f"{name}: Tversky (0.7, 0.3), all pixels together", together.tversky(), len(overlaps)))
        if all(patient.surfaces for patient in patients):
            figures += surface_figures(name, [patient.surfaces[channel] for patient in patients], TOLERANCE_MM)
    return figures


def scores_of(patients: Sequence[Patient]) -> list[tuple[Scores, Mask]]:
    """(scores, truth) of each patient, as `training.evaluate` takes them."""
    return [(np.array(p.scores, np.float64), np.array(p.truth, bool)) for p in patients]
