"""Pictures of what a network found: image, truth, prediction and both over the image; of scans, slice after slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Colours = NDArray[np.uint8]

TRUTH, FOUND = (70, 200, 90), (230, 60, 50)
PARTS = ((90, 200, 90), (70, 130, 240), (230, 60, 50))  # of nested regions the later one is on top
OUTLINE = (255, 255, 255)


def grey(plane: NDArray[Any]) -> Colours:
    """A plane (rows, columns) of any values to grey colours (rows, columns, 3), 1st to 99th percentile."""
    low, high = np.percentile(plane, (1, 99))
    scaled = np.clip((np.asarray(plane, np.float32) - low) / max(float(high - low), 1e-6), 0, 1)
    return np.repeat((scaled * 255).astype(np.uint8)[..., None], 3, axis=2)


def painted(picture: Colours, mask: NDArray[np.bool_], colour: tuple[int, int, int], weight: float = 0.5) -> Colours:
    """The picture with a mask (rows, columns) painted over it."""
    mixed = picture.astype(np.float32)
    mixed[mask] = (1 - weight) * mixed[mask] + weight * np.array(colour, np.float32)
    return mixed.astype(np.uint8)


def strip(plane: NDArray[Any], truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> Colours:
    """Image, truth, prediction, and image with both, side by side: (rows, 4 * columns, 3).

    Masks of one class are (rows, columns): where truth and prediction agree their colours mix; green alone was missed,
    red alone is extra. Masks of several are (classes, rows, columns): every class has its colour, and the truth of all
    of them together is outlined over the prediction.
    """
    if truth.ndim == 3:
        return _strip_of_parts(plane, truth, found)
    picture, black = grey(plane), np.zeros((*plane.shape, 3), np.uint8)
    both = painted(painted(picture, truth, TRUTH), found, FOUND)
    return np.concatenate([picture, painted(black, truth, TRUTH, 1), painted(black, found, FOUND, 1), both], axis=1)


def _strip_of_parts(plane: NDArray[Any], truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> Colours:
    picture, black = grey(plane), np.zeros((*plane.shape, 3), np.uint8)
    whole = truth.any(axis=0)
    outline = whole & ~ndimage.binary_erosion(whole)
    over = painted(_coloured(picture, found, 0.5), outline, OUTLINE, 1)
    return np.concatenate([picture, _coloured(black, truth, 1), _coloured(black, found, 1), over], axis=1)


def _coloured(picture: Colours, masks: NDArray[np.bool_], weight: float) -> Colours:
    """The picture with a colour for each mask; later ones replace earlier ones."""
    result = picture
    for number, (mask, colour) in enumerate(zip(masks, PARTS, strict=False)):
        on_top = mask & ~masks[number + 1 :].any(axis=0)
        result = painted(result, on_top, colour, weight)
    return result


@dataclass(frozen=True, eq=False)
class Shown:
    """What a network made of an item, ready for a gallery.

    Attributes:
        score: The larger the better: Dice, or the probability that it gave to what is true.
        caption: What it is and how good.
        picture: Draws a strip, or the picture alone; called for the few that are shown.
    """

    score: float
    caption: str
    picture: Callable[[], Colours]


def draw_gallery(path: Path, shown: Sequence[Shown], each: int = 3) -> None:
    """The `each` best, median and worst, one below the other, each under its caption; nothing is drawn of nothing."""
    order = sorted(shown, key=lambda one: (-one.score, one.caption))
    if not order:
        return
    middle = max(0, (len(order) - each) // 2)
    rows = [("best", k) for k in range(each)] + [("median", middle + k) for k in range(each)]
    rows += [("worst", k) for k in range(len(order) - each, len(order))]
    chosen: dict[int, str] = {}
    for name, place in rows:
        if 0 <= place < len(order):
            chosen.setdefault(place, name)  # of few items, each is shown once
    drawn = [(name, order[place]) for place, name in sorted(chosen.items())]
    draw_grid(path, [captioned(one.picture(), f"{name}: {one.caption}") for name, one in drawn])


def captioned(picture: Colours, text: str, height: int = 14) -> Colours:
    """The picture under a line of text; what is too long for it is cut off."""
    line = Image.new("RGB", (picture.shape[1], height))
    ImageDraw.Draw(line).text((2, 1), text, fill=(235, 235, 235))
    return np.concatenate([np.asarray(line), picture])


def with_room(picture: Colours, columns: int = 480) -> Colours:
    """The picture with black to its right, where its caption would not fit over it."""
    return np.pad(picture, ((0, 0), (0, max(0, columns - picture.shape[1])), (0, 0)))


def at_most(picture: Colours, rows: int = 256) -> Colours:
    """The picture, made smaller where it has more rows than so many."""
    if picture.shape[0] <= rows:
        return picture
    size = round(picture.shape[1] * rows / picture.shape[0]), rows
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def draw_grid(path: Path, strips: Sequence[Colours]) -> None:
    """One strip below the other, with a line between them, as PNG."""
    width = max(each.shape[1] for each in strips)
    line = np.full((2, width, 3), 90, np.uint8)
    rows = [np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0))) for each in strips]
    stacked = [part for row in rows for part in (row, line)][:-1]
    Image.fromarray(np.concatenate(stacked)).save(path)


def animate(
    path: Path, scan: NDArray[Any], truth: NDArray[np.bool_], found: NDArray[np.bool_], *, step_ms: int = 80
) -> None:
    """A scan (slices, rows, columns) with its masks, strip after strip, as an endless GIF.

    Masks are (slices, rows, columns), or (slices, classes, rows, columns) as `strip` takes them.
    """
    frames = [Image.fromarray(strip(*planes)) for planes in zip(scan, truth, found, strict=True)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=step_ms, loop=0)
