"""Patients of a recipe as a gallery shows them. They show patients: they stay with the run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.case import Case
from training.evaluate.figures import Segmented
from training.evaluate.pictures import Colours, Shown, at_most, grey, strip, with_room


def patients_of(segmented: Sequence[Segmented], channel: int, threshold: float) -> list[Shown]:
    """A strip of each patient that has the class `channel`: the slice with most of it, scored by the patient's Dice."""
    shown = []
    for one in segmented:
        score = one.dice(channel, threshold)
        if score is None:
            continue
        case = one.case
        truth = case.masks[:, channel] & case.trusted[:, channel][:, None, None]
        index = int(truth.sum(axis=(1, 2)).argmax())
        found = one.probabilities[index, channel] >= threshold * 255
        draw = partial(_strip, case, index, truth[index], found)
        shown.append(Shown(score, f"{case.name}, Dice {score:.3f}, slice {index}", draw))
    return shown


def _strip(case: Case, index: int, truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> Colours:
    return at_most(strip(on_source_grid(case, index), truth, found))


def answers_of(cases: Sequence[Case], scores: Sequence[NDArray[np.float64]]) -> list[Shown]:
    """Every slice, scored by the probability that was given to what is true; `scores` has one per slice and case."""
    shown = []
    for case, said in zip(cases, scores, strict=True):
        real = np.asarray(case.masks[:, 0].any(axis=(1, 2)))
        for index, (score, tumour) in enumerate(zip(said, real, strict=True)):
            caption = f"{case.name}, slice {index}: {'tumour' if tumour else 'none'}, said {score:.2f}"
            shown.append(Shown(float(score if tumour else 1 - score), caption, partial(_picture, case, index)))
    return shown


def _picture(case: Case, index: int) -> Colours:
    return with_room(at_most(grey(on_source_grid(case, index))))


def on_source_grid(case: Case, index: int) -> NDArray[Any]:
    """What the network sees of a slice, its FLAIR or CT, back on the grid of the masks: (rows, columns)."""
    names = case.prepared.channels
    channel = names.index("flair") if "flair" in names else 0
    seen = case.prepared.inputs(index, index + 1)[:, channel : channel + 1]
    return np.asarray(case.prepared.restore(seen - seen.min())[0, 0])
