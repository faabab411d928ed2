"""Figures by patient, with confidence intervals by bootstrap over patients. Nothing here knows torch.

A network is anything that turns inputs (n, channels, h, w) into probabilities: the checkpoint during training, the
exported ONNX file afterwards. Masks are compared on the source grid, so resampling losses are part of the figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.measure import split_components
from training.data.case import Case

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class UnfitError(ValueError):
    """What is to be measured does not fit the package."""


@dataclass(frozen=True)
class Figure:
    """A measured figure; `interval` is the 95 % bootstrap interval over patients."""

    metric: str
    value: float
    n: int
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        interval = f" [{self.interval[0]:.3f}, {self.interval[1]:.3f}]" if self.interval else ""
        return f"{self.metric} {self.value:.3f}{interval} (n={self.n})"


def in_batches(predict: Predict, case: Case, size: int = 16) -> NDArray[np.float32]:
    """Network output of all slices of `case`."""
    starts = range(0, len(case.prepared), size)
    return np.concatenate([predict(case.prepared.inputs(start, start + size)) for start in starts])


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice of two masks of any one shape; 1 where both are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((mask & truth).sum()) / total


@dataclass(frozen=True, eq=False)
class Segmented:
    """A case with the network's probabilities on the source grid, (slices, classes, rows, columns), uint8 of 1/255."""

    case: Case
    probabilities: NDArray[np.uint8]

    @classmethod
    def of(cls, predict: Predict, case: Case) -> Segmented:
        """Runs the network and puts its answer back on the source grid."""
        restored = case.prepared.restore(in_batches(predict, case))
        return cls(case, np.clip(restored * 255 + 0.5, 0, 255).astype(np.uint8))

    def as_sent(self, threshold: float, smallest_ml: float) -> Segmented:
        """Without the pieces that are too small to be sent, where the slices make a volume: probability 0."""
        if self.case.voxel_ml is None:
            return self
        left = self.probabilities.copy()
        for channel in range(left.shape[1]):
            mask = left[:, channel] >= threshold * 255
            pieces = split_components(mask, voxel_ml=self.case.voxel_ml, min_volume_ml=smallest_ml)
            left[:, channel][mask & (pieces.array == 0)] = 0
        return replace(self, probabilities=left)

    def dice(self, channel: int, threshold: float) -> float | None:
        """Dice over all trusted slices of the patient; None where the class is not there at all or not labelled."""
        trusted = self.case.trusted[:, channel]
        truth = self.case.masks[trusted, channel]
        if not truth.any():
            return None
        return dice(self.probabilities[trusted, channel] >= threshold * 255, truth)

    def slice_dices(self, channel: int, threshold: float) -> list[float]:
        """Dice of each trusted slice that shows the class."""
        wanted = np.flatnonzero(self.case.trusted[:, channel] & self.case.masks[:, channel].any(axis=(1, 2)))
        masks = self.probabilities[wanted, channel] >= threshold * 255
        return [dice(mask, truth) for mask, truth in zip(masks, self.case.masks[wanted, channel], strict=True)]

    def false_slices(self, channel: int, threshold: float) -> tuple[int, int]:
        """Trusted slices without the class: how many got a mask all the same, and how many there are."""
        empty = self.case.trusted[:, channel] & ~self.case.masks[:, channel].any(axis=(1, 2))
        masks = self.probabilities[empty, channel] >= threshold * 255
        return int(masks.any(axis=(1, 2)).sum()), int(empty.sum())


def bootstrap(
    per_patient: Sequence[NDArray[np.float64]],
    statistic: Callable[[Sequence[NDArray[np.float64]]], float],
    draws: int = 1000,
) -> tuple[float, float]:
    """95 % interval of `statistic` when patients are drawn with replacement (percentile method, fixed seed).

    Draws for which it is not defined (NaN: all of one class, say) do not count; NaN if it never is.
    """
    generator = np.random.default_rng(0)
    n = len(per_patient)
    drawn = [statistic([per_patient[i] for i in generator.integers(n, size=n)]) for _ in range(draws)]
    values = [value for value in drawn if not np.isnan(value)]
    if not values:
        return float("nan"), float("nan")
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def mean_figure(metric: str, values: Sequence[float]) -> Figure:
    """Mean of one value per patient."""
    arrays = [np.array([value]) for value in values]
    interval = bootstrap(arrays, lambda drawn: float(np.mean(drawn))) if len(values) > 1 else None
    return Figure(metric, float(np.mean(values)) if values else float("nan"), len(values), interval)


def median_figure(metric: str, values: Sequence[float], draws: int = 1000) -> Figure:
    """Median of one value per patient, infinite ones allowed; no interval where that would be infinite."""
    generator, given = np.random.default_rng(0), np.array(values, np.float64)
    drawn = np.sort([np.median(generator.choice(given, len(given))) for _ in range(draws)])
    low, high = float(drawn[int(0.025 * draws)]), float(drawn[int(0.975 * draws)])
    interval = (low, high) if len(given) > 1 and np.isfinite(high) else None
    return Figure(metric, float(np.median(given)), len(given), interval)


def area_under_curve(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), ties counted half; nan where one class is missing."""
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return float("nan")
    from scipy.stats import rankdata

    return float((rankdata(scores)[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def segmentation_figures(segmented: Sequence[Segmented], classes: Sequence[str], threshold: float) -> list[Figure]:
    """Per class: Dice by patient (mean and median), Dice by slice that shows it, specificity by slice."""
    figures = []
    for channel, name in enumerate(classes):
        by_patient = [d for s in segmented if (d := s.dice(channel, threshold)) is not None]
        by_slice = [d for s in segmented for d in s.slice_dices(channel, threshold)]
        figures.append(mean_figure(f"{name}: Dice by patient, mean", by_patient))
        median = float(np.median(by_patient)) if by_patient else float("nan")
        figures.append(Figure(f"{name}: Dice by patient, median", median, len(by_patient)))
        figures.append(Figure(f"{name}: Dice by slice, mean", float(np.mean(by_slice or [np.nan])), len(by_slice)))
        false, empty = np.sum([s.false_slices(channel, threshold) for s in segmented], axis=0)
        if empty:
            figures.append(Figure(f"{name}: slices without it that stay empty", 1 - float(false / empty), int(empty)))
    return figures


def classification_figures(
    scored: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]], name: str, threshold: float
) -> list[Figure]:
    """AUC, accuracy, sensitivity and specificity over slices; `scored` holds (scores, truth) of each patient."""
    pairs = [np.stack([scores, truth.astype(np.float64)]) for scores, truth in scored]

    def over(measure: Callable[[NDArray[np.float64], NDArray[np.bool_]], float]) -> tuple[float, tuple[float, float]]:
        def statistic(drawn: Sequence[NDArray[np.float64]]) -> float:
            joined = np.concatenate(drawn, axis=1)
            return measure(joined[0], joined[1] > 0.5)

        return statistic(pairs), bootstrap(pairs, statistic)

    measures = {
        "AUC by slice": area_under_curve,
        "accuracy by slice": lambda s, t: float(((s >= threshold) == t).mean()),
        "sensitivity by slice": lambda s, t: float((s[t] >= threshold).mean()) if t.any() else float("nan"),
        "specificity by slice": lambda s, t: float((s[~t] < threshold).mean()) if (~t).any() else float("nan"),
    }
    n = sum(len(truth) for _, truth in scored)
    return [
        Figure(f"{name}: {metric}", value, n, interval)
        for metric, (value, interval) in ((metric, over(measure)) for metric, measure in measures.items())
    ]
