"""Overlap (Dice, Tversky), surface distances, and whether a probability means what it says."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.evaluate.figures import Figure, mean_figure, median_figure, over_slices

Mask = NDArray[np.bool_]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Overlap:
    """Counts of voxels: a mask against the truth. Sums of overlaps are the overlap of all of them together."""

    hit: int
    missed: int
    extra: int
    empty: int

    @classmethod
    def of(cls, mask: Mask, truth: Mask) -> Overlap:
        """Counts of two masks of any one shape."""
        hit, found, wanted = int((mask & truth).sum()), int(mask.sum()), int(truth.sum())
        return cls(hit, wanted - hit, found - hit, mask.size - found - wanted + hit)

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.hit + other.hit, self.missed + other.missed, self.extra + other.extra, self.empty + other.empty
        )

    @property
    def dice(self) -> float:
        """1 where both are empty, as in `figures.dice`."""
        return _ratio(2 * self.hit, 2 * self.hit + self.missed + self.extra, 1.0)

    @property
    def iou(self) -> float:
        """Intersection over union; 1 where both are empty."""
        return _ratio(self.hit, self.hit + self.missed + self.extra, 1.0)

    def tversky(self, alpha: float = 0.7) -> float:
        """Tversky index; `alpha` weighs what is missed, 1 - alpha what is extra; 1 where both are empty."""
        return _ratio(self.hit, self.hit + alpha * self.missed + (1 - alpha) * self.extra, 1.0)

    @property
    def sensitivity(self) -> float:
        """Share of the truth that was found; nan without truth."""
        return _ratio(self.hit, self.hit + self.missed, float("nan"))

    @property
    def specificity(self) -> float:
        """Share of what is not in the truth that was left alone; nan where everything is."""
        return _ratio(self.empty, self.empty + self.extra, float("nan"))


def _ratio(part: float, whole: float, otherwise: float) -> float:
    return part / whole if whole else otherwise


def surface_distances(
    mask: Mask, truth: Mask, spacing: Sequence[float], tolerance: float = 2.0
) -> tuple[float, float] | None:
    """95th percentile of the Hausdorff distance in mm, and surface Dice at `tolerance` mm (MONAI's).

    None where there is no truth; (inf, 0) where it was wholly missed.

    Args:
        mask: 2D or 3D.
        truth: Same shape.
        spacing: In mm, one per axis.
        tolerance: How far apart surfaces may be and still count as the same (Nikolov et al. 2018, arXiv:1809.04430).
    """
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    if not truth.any():
        return None
    if not mask.any():
        return float("inf"), 0.0
    box = _around(mask | truth)  # a surface is where it is, however large the scan around it
    one, other = (torch.from_numpy(np.ascontiguousarray(each[box][None, None])) for each in (mask, truth))
    step = [float(value) for value in spacing]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI warns of tensors it makes itself
        distance = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=step)
        surface = compute_surface_dice(one, other, [tolerance], include_background=True, spacing=step)
    return float(distance[0, 0]), float(surface[0, 0])


def _around(mask: Mask) -> tuple[slice, ...]:
    """The box of a mask with one voxel of margin where the array has one."""
    box = []
    for axis, length in enumerate(mask.shape):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(max(0, int(hit[0]) - 1), min(length, int(hit[-1]) + 2)))
    return tuple(box)


def overlap_figures(name: str, by_patient: Sequence[Overlap]) -> list[Figure]:
    """Of one class: Dice, IoU, Tversky, sensitivity and specificity, mean over the patients that have it.

    A patient without it has no Dice; how many of those stay empty is a figure of its own.
    """
    present = [overlap for overlap in by_patient if overlap.hit + overlap.missed]
    measures = {
        "Dice": [o.dice for o in present],
        "IoU": [o.iou for o in present],
        "Tversky (0.7, 0.3)": [o.tversky() for o in present],
        "sensitivity": [o.sensitivity for o in present],
        "specificity": [o.specificity for o in by_patient if not np.isnan(o.specificity)],
    }
    figures = [
        mean_figure(f"{name}: {metric} by patient, mean", values) for metric, values in measures.items() if values
    ]
    absent = [overlap for overlap in by_patient if not overlap.hit + overlap.missed]
    if absent:
        empty = sum(not overlap.extra for overlap in absent) / len(absent)
        figures.append(Figure(f"{name}: patients without it that stay empty", empty, len(absent)))
    return figures


def surface_figures(name: str, by_patient: Sequence[tuple[float, float] | None], tolerance: float) -> list[Figure]:
    """Hausdorff 95 (median: one missed tumour makes the mean infinite) and surface Dice over patients that have it."""
    present = [pair for pair in by_patient if pair is not None]
    if not present:
        return []
    distances, surfaces = zip(*present, strict=True)
    median = median_figure(f"{name}: Hausdorff 95 in mm, median", distances)
    return [median, mean_figure(f"{name}: surface Dice at {tolerance:g} mm, mean", list(surfaces))]


def expected_calibration_error(scores: Scores, truth: Mask, bins: int = 15) -> float:
    """Mean distance of probability and frequency over equal bins, weighted by count (Guo et al. 2017)."""
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    scored = torch.from_numpy(np.asarray(scores, np.float32))
    return float(binary_calibration_error(scored, torch.from_numpy(truth.astype(np.int64)), n_bins=bins, norm="l1"))


def calibration_figure(name: str, scored: Sequence[tuple[Scores, Mask]]) -> Figure:
    """Expected calibration error over all items, with its interval; `scored` as in `classification_figures`."""
    return over_slices(f"{name}: expected calibration error", scored, expected_calibration_error, draws=200)


def reliability_diagram(path: Path, scores: Scores, truth: Mask, title: str, bins: int = 10) -> None:
    """Draws how often what was said to be so probable was so, and how many were said to be (scikit-learn's curve)."""
    from matplotlib.figure import Figure as Canvas
    from sklearn.calibration import calibration_curve

    frequency, said = calibration_curve(truth, scores, n_bins=bins)
    canvas = Canvas(figsize=(4.5, 5.5), layout="constrained")
    curve, counts = canvas.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    curve.plot([0, 1], [0, 1], color="0.7", linestyle="--")
    curve.plot(said, frequency, marker="o")
    curve.set(ylabel="frequency", title=f"{title}\nECE {expected_calibration_error(scores, truth):.3f}, n={len(truth)}")
    counts.hist(scores, bins=bins, range=(0, 1), color="0.5")
    counts.set(xlabel="probability", ylabel="count", yscale="log")
    canvas.savefig(path, dpi=120)
