"""Two stages, as in system C: the classifier looks at every slice, the segmenter where it says tumour."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.packages.package import ModelPackage
from training.data import dataset
from training.data.items import Item
from training.errors import UnfitError
from training.evaluate.figures import Figure, mean_figure
from training.evaluate.gallery import show_masks
from training.evaluate.items import Patient, count, figures_of, owner
from training.evaluate.pictures import Colours, Shown, at_most, draw_gallery, strip
from training.evaluate.predict import Predict, by_engine, masks, two_stage
from training.experiment import Experiment
from training.package.origin import experiments_of, threshold_of, unseen_names

Stages = tuple[Experiment, Experiment]


def measure_stages(
    packages: tuple[ModelPackage, ModelPackage], data: Path, *, everyone: bool = False, pictures: Path | None = None
) -> tuple[int, list[Figure]]:
    """How many slices were looked at, and figures of both stages together, and of the segmenter alone on the same.

    Only what both held out is looked at, slices without tumour included.

    Args:
        packages: Classifier, segmenter.
        data: The data set, as published.
        everyone: All slices, not only those that both held out.
        pictures: A folder for gallery.png (best, median and worst: MRI, truth, prediction, both over the MRI) and
            missed.png (slices with tumour that the classifier let pass, and slices without it that got some).

    Raises:
        FileNotFoundError: There is no such slice in `data`.
        UnfitError: The packages are no classifier and segmenter of the same images.
    """
    stages = experiments_of(packages[0])[0], experiments_of(packages[1])[0]
    segmenter, thresholds = stages[1], (threshold_of(packages[0]), threshold_of(packages[1]))
    items = _seen_by_neither(packages, stages, data, everyone=everyone)
    with ExitStack() as stack:
        engines = [stack.enter_context(open_engine(package, EngineSettings())) for package in packages]
        looked = _look(stages, (by_engine(engines[0]), by_engine(engines[1])), items, thresholds)
    if pictures is not None:
        draw_gallery(pictures / "gallery.png", looked.shown)
        draw_gallery(pictures / "missed.png", looked.missed, each=4)
    together = figures_of(segmenter, list(looked.patients.values()))
    alone = figures_of(segmenter, list(looked.alone.values()))
    asked = mean_figure("share of a patient's slices that the segmenter looked at", looked.asked())
    return len(items), [*_named("two stages", together), asked, *_named("segmenter alone", alone)]


def _seen_by_neither(
    packages: tuple[ModelPackage, ModelPackage], stages: Stages, data: Path, *, everyone: bool
) -> list[Item]:
    classifier, segmenter = stages
    tasks, alike = (classifier.task, segmenter.task), [(s.data, s.size, s.channels, s.prepared) for s in stages]
    names = " and ".join(package.name for package in packages)
    if tasks != ("classification", "segmentation") or alike[0] != alike[1] or classifier.prepared:
        raise UnfitError(
            reason=f"expected a classifier and a segmenter of the same images, received {names}: {tasks}, {alike}"
        )
    items: list[Item] = dataset.read(replace(segmenter, only_positive=False), data)
    for package, experiment in zip(packages, stages, strict=True):
        # a slice without tumour was never trained on by who wants tumour only
        skipped = experiment.only_positive and experiment.split == "slice"
        held_out = unseen_names(package)
        items = [
            item for item in items if everyone or {item.name, item.group} & held_out or (skipped and not item.positive)
        ]
    if not items:
        raise FileNotFoundError(f"nothing that both {names} held out is in {data}")
    return items


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
