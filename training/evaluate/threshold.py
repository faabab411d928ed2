"""From which probability on it counts: chosen on validation items, before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.examples import target
from training.data.items import Item
from training.evaluate.cases import Segmented
from training.evaluate.items import owner
from training.evaluate.overlap import Mask, Scores
from training.evaluate.predict import Predict, predict_item
from training.experiment import Experiment

OF_MASKS = tuple(round(0.05 * step, 2) for step in range(6, 15))  # 0.3 to 0.7
OF_SLICES = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True, eq=False)
class Sweep:
    """Counts of voxels at each of the thresholds `OF_MASKS`, for a class in a patient; sums are those of both together.

    Attributes:
        hit: Of the truth, how many are at or over each threshold.
        found: Of all, how many are.
        wanted: How many the truth has.
    """

    hit: NDArray[np.int64]
    found: NDArray[np.int64]
    wanted: int

    @classmethod
    def of(cls, probability: NDArray[np.float32], truth: Mask) -> Sweep:
        """Counts of arrays of any one shape."""
        likely = probability >= np.float32(OF_MASKS[0])
        values, real = probability[likely], truth[likely]
        over = [values >= np.float32(threshold) for threshold in OF_MASKS]
        hit = np.array([(mask & real).sum() for mask in over], np.int64)
        return cls(hit, np.array([mask.sum() for mask in over], np.int64), int(truth.sum()))

    def __add__(self, other: Sweep) -> Sweep:
        return Sweep(self.hit + other.hit, self.found + other.found, self.wanted + other.wanted)

    @property
    def dice(self) -> NDArray[np.float64]:
        """At each threshold; the truth must not be empty."""
        return np.asarray(2 * self.hit / (self.found + self.wanted), np.float64)


def choose_threshold(experiment: Experiment, predict: Predict, items: Sequence[Item]) -> float:
    """The threshold that does best on `items`.

    Of sigmoid masks it is the one with the best Dice by patient, mean over patients and then over classes; of a
    classification the one with the best sensitivity plus specificity (Youden's index), the middle one of equals. With
    softmax the likeliest class wins and no threshold is asked: 0.5.
    """
    if experiment.task == "classification":
        looked = [item.read() for item in items]
        scores = np.array([predict_item(experiment, predict, image)[0] for image, _ in looked], np.float64)
        return youden(scores, np.array([target(experiment, truth)[0] > 0 for _, truth in looked], bool))
    if experiment.activation == "softmax":
        return 0.5
    patients: dict[str, list[Sweep]] = {}
    for item in items:
        image, truth = item.read()
        pairs = zip(predict_item(experiment, predict, image), truth > 0, strict=True)
        sweeps = [Sweep.of(*pair) for pair in pairs]
        before = patients.get(owner(experiment, item))
        patients[owner(experiment, item)] = [a + b for a, b in zip(before, sweeps, strict=True)] if before else sweeps
    return best_dice(list(patients.values()))


def best_dice(patients: Sequence[Sequence[Sweep]]) -> float:
    """See `choose_threshold`; 0.5 where no patient has any class."""
    by_class = [[sweep.dice for sweep in sweeps if sweep.wanted] for sweeps in zip(*patients, strict=True)]
    means = [np.mean(dices, axis=0) for dices in by_class if dices]
    return OF_MASKS[int(np.mean(means, axis=0).argmax())] if means else 0.5


def youden(scores: Scores, truth: Mask) -> float:
    """See `choose_threshold`; 0.5 where one of the classes is missing."""
    if truth.all() or not truth.any():
        return 0.5
    index = [(scores[truth] >= t).mean() + (scores[~truth] < t).mean() for t in OF_SLICES]
    best = np.flatnonzero(np.isclose(index, max(index)))
    return OF_SLICES[int(best[len(best) // 2])]


def best_dice_of_cases(segmented: Sequence[Segmented], classes: int) -> float:
    """Of patients on prepared slices: the best Dice by patient, mean over patients and then over classes."""

    def mean_dice(threshold: float) -> float:
        by_class = [[s.dice(channel, threshold) for s in segmented] for channel in range(classes)]
        return float(np.mean([np.mean([d for d in dices if d is not None]) for dices in by_class]))

    return max(OF_MASKS, key=mean_dice)


def best_accuracy(scores: Scores, truth: Mask) -> float:
    """Of prepared slices, the threshold that tells most of them rightly; 0.5 where one of the classes is missing."""
    if truth.all() or not truth.any():
        return 0.5
    return max(OF_SLICES[3:16], key=lambda t: float(((scores >= t) == truth).mean()))
