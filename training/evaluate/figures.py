"""Figures, with confidence intervals by bootstrap over patients. Nothing here knows torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice of two masks of any one shape; 1 where both are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((mask & truth).sum()) / total


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


def over_slices(
    metric: str,
    scored: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]],
    measure: Callable[[NDArray[np.float64], NDArray[np.bool_]], float],
    draws: int = 1000,
) -> Figure:
    """What `measure` says of all slices together; `scored` holds (scores, truth) of each patient."""
    pairs = [np.stack([scores, truth.astype(np.float64)]) for scores, truth in scored]

    def statistic(drawn: Sequence[NDArray[np.float64]]) -> float:
        joined = np.concatenate(drawn, axis=1)
        return measure(joined[0], joined[1] > 0.5)

    n = sum(pair.shape[1] for pair in pairs)
    return Figure(metric, statistic(pairs), n, bootstrap(pairs, statistic, draws))


def classification_figures(
    scored: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]], name: str, threshold: float
) -> list[Figure]:
    """AUC, accuracy, sensitivity and specificity over slices; `scored` holds (scores, truth) of each patient."""
    measures: dict[str, Callable[[NDArray[np.float64], NDArray[np.bool_]], float]] = {
        "AUC by slice": area_under_curve,
        "accuracy by slice": lambda s, t: float(((s >= threshold) == t).mean()),
        "sensitivity by slice": lambda s, t: float((s[t] >= threshold).mean()) if t.any() else float("nan"),
        "specificity by slice": lambda s, t: float((s[~t] < threshold).mean()) if (~t).any() else float("nan"),
    }
    return [over_slices(f"{name}: {metric}", scored, measure) for metric, measure in measures.items()]
