"""Patients on prepared slices: what a network makes of them, and figures by patient.

A network is anything that turns inputs (n, channels, h, w) into probabilities: the checkpoint during training, the
exported ONNX file afterwards. Masks are compared on the source grid, so resampling losses are part of the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.measure import split_components
from training.data.case import Case
from training.evaluate.figures import Figure, dice, mean_figure
from training.evaluate.overlap import Overlap
from training.evaluate.predict import Predict

TVERSKY_THRESHOLD = 0.3
"""A pixel adds more to Tversky (0.7, 0.3) than it costs from 0.3 times the figure itself up, so from just below 0.3."""


def in_batches(predict: Predict, case: Case, size: int = 16) -> NDArray[np.float32]:
    """Network output of all slices of `case`."""
    starts = range(0, len(case.prepared), size)
    return np.concatenate([predict(case.prepared.inputs(start, start + size)) for start in starts])


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

    def overlap(self, channel: int, threshold: float) -> Overlap:
        """Over all trusted slices of the patient."""
        trusted = self.case.trusted[:, channel]
        return Overlap.of(self.probabilities[trusted, channel] >= threshold * 255, self.case.masks[trusted, channel])

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


def pooled_figures(segmented: Sequence[Segmented], classes: Sequence[str], threshold: float) -> list[Figure]:
    """Tversky and Dice over all trusted pixels together, as publications that split by slice give them."""
    figures = []
    for channel, name in enumerate(classes):
        slices = sum(int(each.case.trusted[:, channel].sum()) for each in segmented)
        for at in (threshold, TVERSKY_THRESHOLD):
            overlaps = [each.overlap(channel, at) for each in segmented]
            together, where = sum(overlaps[1:], overlaps[0]), f"all pixels together, threshold {at}"
            figures.append(Figure(f"{name}: Tversky (0.7, 0.3), {where}", together.tversky(), slices))
            figures.append(Figure(f"{name}: Dice, {where}", together.dice, slices))
    return figures
