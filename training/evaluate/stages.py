"""System C as a whole: the classifier looks at every slice, the segmenter where it says tumour."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.package import ModelPackage
from training.data.items import Item
from training.evaluate.figures import Figure, mean_figure
from training.evaluate.gallery import show_masks
from training.evaluate.pictures import Colours, Shown, at_most, draw_gallery, strip
from training.evaluate.predict import Predict, by_engine, masks, two_stage
from training.experiment import System
from training.package.manifest import threshold_of
from training.systems.measure import Patient, count, figures_of, owner

Stages = tuple[System, System]


def measure_stages(
    stages: Stages, packages: tuple[ModelPackage, ModelPackage], items: Sequence[Item], pictures: Path | None = None
) -> list[Figure]:
    """Figures of both stages together, and of the segmenter alone on the same slices.

    Args:
        stages: Classifier, segmenter.
        packages: Theirs, with their thresholds.
        items: Slices that neither was trained on, with and without tumour, of the size that both networks take.
        pictures: A folder for gallery.png (best, median and worst: MRI, truth, prediction, both over the MRI) and
            missed.png (slices with tumour that the classifier let pass, and slices without it that got some).
    """
    thresholds = threshold_of(packages[0]), threshold_of(packages[1])
    with ExitStack() as stack:
        engines = [stack.enter_context(open_engine(package, EngineSettings())) for package in packages]
        looked = _look(stages, (by_engine(engines[0]), by_engine(engines[1])), items, thresholds)
    if pictures is not None:
        draw_gallery(pictures / "gallery.png", looked.shown)
        draw_gallery(pictures / "missed.png", looked.missed, each=4)
    segmenter = stages[1]
    together = figures_of(segmenter, list(looked.patients.values()))
    alone = figures_of(segmenter, list(looked.alone.values()))
    asked = mean_figure("share of a patient's slices that the segmenter looked at", looked.asked())
    return [*_named("two stages", together), asked, *_named("segmenter alone", alone)]


class _Looked:
    def __init__(self) -> None:
        self.patients: dict[str, Patient] = {}
        self.alone: dict[str, Patient] = {}
        self.passed: dict[str, list[bool]] = {}
        self.shown: list[Shown] = []
        self.missed: list[Shown] = []

    def asked(self) -> list[float]:
        return [float(np.mean(passed)) for passed in self.passed.values()]


def _look(
    stages: Stages, predicts: tuple[Predict, Predict], items: Sequence[Item], thresholds: tuple[float, float]
) -> _Looked:
    looked, segmenter = _Looked(), stages[1]
    for item in items:
        image, truth = item.read()
        wanted, key = truth > 0, owner(segmenter, item)
        answer = two_stage(stages, predicts, image, thresholds[0])
        passed = bool(answer.any())
        whole = answer if passed else two_stage(stages, (_always, predicts[1]), image, 0.0)
        found = masks(segmenter, answer, thresholds[1])
        count(segmenter, looked.patients.setdefault(key, Patient()), item, found, wanted)
        alone = masks(segmenter, whole, thresholds[1])
        count(segmenter, looked.alone.setdefault(key, Patient()), item, alone, wanted)
        looked.passed.setdefault(key, []).append(passed)
        if item.positive:
            looked.shown.append(show_masks(segmenter, item, found, wanted))
        if item.positive != passed:
            looked.missed.append(_wrong(item, alone if item.positive else found, wanted))
    return looked


def _always(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ones((len(inputs), 1), np.float32)


def _wrong(item: Item, found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Shown:
    """What the classifier got wrong, by how much it cost: pixels that were let pass, or made up."""
    cost = int(wanted.sum() if item.positive else found.sum())
    what = "let pass" if item.positive else "made up"
    return Shown(-cost, f"{item.name}, {what}: {cost} pixels", partial(_strip, item, found, wanted))


def _strip(item: Item, found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Colours:
    plane = np.asarray(item.read()[0][1])  # FLAIR
    return at_most(strip(plane, np.asarray(wanted.any(axis=0)), np.asarray(found.any(axis=0))))


def _named(stage: str, figures: Sequence[Figure]) -> list[Figure]:
    return [Figure(f"{stage}, {figure.metric}", figure.value, figure.n, figure.interval) for figure in figures]
