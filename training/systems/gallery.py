"""The best, median and worst of what a network found, as a picture. It shows patients: it stays with the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.classic import System
from training.data.items import Item
from training.evaluate import dice
from training.pictures import Colours, animate, draw_grid, strip
from training.systems.predict import Predict, masks, predict_item


def draw_gallery(path: Path, system: System, predict: Predict, items: Sequence[Item], each: int = 3) -> None:
    """Strips of the `each` best, median and worst items with tumour, by Dice of all classes together.

    Of a scan it is the slice with most tumour that is shown, and the median scan is animated beside it (.gif).
    """
    looked = [_look(system, predict, item) for item in items if item.positive]
    if not looked:
        return
    order = sorted(looked, key=lambda found: -found[0])
    middle = max(0, len(order) // 2 - each // 2)
    chosen = [*order[:each], *order[middle : middle + each], *order[-each:]]
    draw_grid(path, [_strip(*found[1:]) for found in chosen])
    if len(system.size) == 3:
        animate(path.with_suffix(".gif"), *order[len(order) // 2][1:])


def _look(
    system: System, predict: Predict, item: Item
) -> tuple[float, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
    image, truth = item.read()
    first = 1 if system.activation == "softmax" else 0
    # with background, liver and tumour it is the tumour that is shown
    chosen = slice(len(truth) - 1, None) if first else slice(None)
    found = np.asarray(masks(system, predict_item(system, predict, image))[chosen].any(axis=0))
    wanted = np.asarray(truth[chosen].any(axis=0))
    channel = system.channels.index("flair") if "flair" in system.channels else 0
    return dice(found, wanted), np.asarray(image[channel]), wanted, found


def _strip(image: NDArray[Any], truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> Colours:
    if image.ndim == 3:
        index = int(truth.sum(axis=(1, 2)).argmax())
        image, truth, found = image[index], truth[index], found[index]
    return strip(image, truth, found)
