"""Items as a gallery shows them, and the median scan animated. They show patients: they stay with the run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.items import Item
from training.evaluate.figures import dice
from training.evaluate.pictures import Colours, Shown, animate, at_most, grey, strip, with_room
from training.evaluate.predict import Predict, masks, predict_item
from training.experiment import System


def show_masks(system: System, item: Item, found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> Shown:
    """A strip of an item with tumour, scored by Dice of all its classes together; of a scan the slice with most of it.

    Args:
        system: Whose channels and classes they are.
        item: Its name goes into the caption.
        found: (classes but the background, ...); with liver and tumour it is the tumour that is shown.
        wanted: Same shape.
    """
    score, index = dice(_together(system, found), _together(system, wanted)), None
    truth, mask = _parts(system, wanted), _parts(system, found)
    caption = f"{item.name}, Dice {score:.3f}"
    if wanted.ndim == 4:
        index = int(wanted.any(axis=0).sum(axis=(1, 2)).argmax())
        truth, mask = truth[..., index, :, :].copy(), mask[..., index, :, :].copy()
        caption += f", slice {index}"
    return Shown(score, caption, partial(_strip, system, item, index, (truth, mask)))


def _strip(system: System, item: Item, index: int | None, masks_of: tuple[NDArray[Any], NDArray[Any]]) -> Colours:
    plane = _channel(system, item.read()[0])
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


def animate_scan(path: Path, system: System, predict: Predict, item: Item, threshold: float) -> None:
    """A scan with its truth and what is found in it, slice after slice (.gif)."""
    image, truth = item.read()
    first = 1 if system.activation == "softmax" else 0
    found = masks(system, predict_item(system, predict, image), threshold)[first:]
    parts = [_parts(system, masks_of) for masks_of in (truth[first:] > 0, found)]
    truths, founds = (np.moveaxis(part, 0, 1) if part.ndim == 4 else part for part in parts)
    animate(path, _channel(system, image), truths, founds)


def _parts(system: System, masks_of: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is drawn, in colours of their own if there are several: all classes, or of liver and tumour the tumour."""
    drawn = masks_of[-1:] if system.activation == "softmax" else masks_of
    return drawn[0] if len(drawn) == 1 else drawn


def _together(system: System, masks_of: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray((masks_of[-1:] if system.activation == "softmax" else masks_of).any(axis=0), bool)


def _channel(system: System, image: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(image[system.channels.index("flair") if "flair" in system.channels else 0])
