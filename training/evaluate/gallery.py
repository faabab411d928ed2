"""What a gallery shows of items and of patients on prepared slices, and the median scan animated.

These pictures show patients: they stay with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.case import Case
from training.data.items import Item
from training.evaluate.cases import Segmented
from training.evaluate.figures import dice
from training.evaluate.pictures import Colours, Shown, animate, at_most, grey, strip, with_room
from training.evaluate.predict import Predict, masks, predict_item
from training.experiment import Experiment


def show_masks(experiment: Experiment, item: Item, found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Shown:
    """A strip of an item with tumour, scored by Dice of all its classes together; of a scan the slice with most of it.

    Args:
        experiment: Whose channels and classes they are.
        item: Its name goes into the caption.
        found: (classes but the background, ...); with liver and tumour it is the tumour that is shown.
        wanted: Same shape.
    """
    score, index = dice(_together(experiment, found), _together(experiment, wanted)), None
    truth, mask = _parts(experiment, wanted), _parts(experiment, found)
    caption = f"{item.name}, Dice {score:.3f}"
    if wanted.ndim == 4:
        index = int(wanted.any(axis=0).sum(axis=(1, 2)).argmax())
        truth, mask = truth[..., index, :, :].copy(), mask[..., index, :, :].copy()
        caption += f", slice {index}"
    return Shown(score, caption, partial(_strip, experiment, item, index, (truth, mask)))


def _strip(
    experiment: Experiment, item: Item, index: int | None, masks_of: tuple[NDArray[Any], NDArray[Any]]
) -> Colours:
    plane = _channel(experiment, item.read()[0])
    return at_most(strip(plane if index is None else plane[index], *masks_of))


def show_answer(item: Item, said: float, real: bool) -> Shown:
    """A picture that was classified, scored by the probability that was given to what is true."""
    caption = f"{item.name}: {'tumour' if real else 'none'}, said {said:.2f}"
    return Shown(said if real else 1 - said, caption, partial(_picture, item))


def _picture(item: Item) -> Colours:
    return with_room(at_most(grey(np.asarray(item.read()[0], np.float32).mean(axis=0))))


def median_item(items: Sequence[Item], shown: Sequence[Shown]) -> Item:
    """The item of median score; `shown` is what `show_masks` made of those of `items` that have tumour."""
    positive = [item for item in items if item.positive]
    order = sorted(zip(shown, positive, strict=True), key=lambda pair: -pair[0].score)
    return order[len(order) // 2][1]


def animate_scan(path: Path, experiment: Experiment, predict: Predict, item: Item, threshold: float) -> None:
    """A scan with its truth and what is found in it, slice after slice (.gif)."""
    image, truth = item.read()
    first = 1 if experiment.activation == "softmax" else 0
    found = masks(experiment, predict_item(experiment, predict, image), threshold)[first:]
    parts = [_parts(experiment, masks_of) for masks_of in (truth[first:] > 0, found)]
    truths, founds = (np.moveaxis(part, 0, 1) if part.ndim == 4 else part for part in parts)
    animate(path, _channel(experiment, image), truths, founds)


def _parts(experiment: Experiment, masks_of: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is drawn, in colours of their own if there are several: all classes, or of liver and tumour the tumour."""
    drawn = masks_of[-1:] if experiment.activation == "softmax" else masks_of
    return drawn[0] if len(drawn) == 1 else drawn


def _together(experiment: Experiment, masks_of: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray((masks_of[-1:] if experiment.activation == "softmax" else masks_of).any(axis=0), bool)


def _channel(experiment: Experiment, image: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(image[experiment.channels.index("flair") if "flair" in experiment.channels else 0])


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
        draw = partial(_case_strip, case, index, truth[index], found)
        shown.append(Shown(score, f"{case.name}, Dice {score:.3f}, slice {index}", draw))
    return shown


def _case_strip(case: Case, index: int, truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> Colours:
    return at_most(strip(on_source_grid(case, index), truth, found))


def answers_of(cases: Sequence[Case], scores: Sequence[NDArray[np.float64]]) -> list[Shown]:
    """Every slice, scored by the probability that was given to what is true; `scores` has one per slice and case."""
    shown = []
    for case, said in zip(cases, scores, strict=True):
        for index, (score, tumour) in enumerate(zip(said, case.shows(0), strict=True)):
            caption = f"{case.name}, slice {index}: {'tumour' if tumour else 'none'}, said {score:.2f}"
            shown.append(Shown(float(score if tumour else 1 - score), caption, partial(_case_picture, case, index)))
    return shown


def _case_picture(case: Case, index: int) -> Colours:
    return with_room(at_most(grey(on_source_grid(case, index))))


def on_source_grid(case: Case, index: int) -> NDArray[Any]:
    """What the network sees of a slice, its FLAIR or CT, back on the grid of the masks: (rows, columns)."""
    names = case.prepared.channels
    channel = names.index("flair") if "flair" in names else 0
    seen = case.prepared.inputs(index, index + 1)[:, channel : channel + 1]
    return np.asarray(case.prepared.restore(seen - seen.min())[0, 0])
