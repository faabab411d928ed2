"""Single grey pictures of brain MR, each of one sequence, with the word whether tumour is on it.

The yes/no set is small and mixes sequences; this is where a network can learn beforehand what a tumour looks like on
each of them: FLAIR, T1 and T1 with contrast of whole heads (TCGA-LGG), the same and T2 of stripped brains (BraTS).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.items import Item, Pair
from training.data.layouts.brats import load_brats
from training.data.layouts.lgg import load_lgg_slices

LGG_EVERY, BRATS_EVERY = 2, 8
SMALLEST = 0.004
"""Share of the picture that is tumour at least, to be called one: specks at its ends are left out."""


def load_mr_slices(root: Path, size: tuple[int, int]) -> list[Item]:
    """Pictures (3, height, width) of 0..255, all channels alike, with truth (1,); the group is the patient.

    Args:
        root: A folder that holds, at any depth, `kaggle_3m` and folders in the BraTS layout, or one of the two.
        size: (height, width) of the pictures.

    Raises:
        FileNotFoundError: Neither is there.
    """
    items = [item for folder in sorted(root.rglob("kaggle_3m")) for item in _of_lgg(folder, size)]
    scans = sorted({path.parents[1] for path in root.rglob("*_flair.nii*")})
    items += [item for folder in scans for item in _of_brats(folder, size)]
    if not items:
        raise FileNotFoundError(f"neither kaggle_3m nor <id>/<id>_flair.nii.gz in {root}")
    return items


def _of_lgg(folder: Path, size: tuple[int, int]) -> Iterator[Item]:
    for _, slices in groupby(load_lgg_slices(folder, (256, 256)), key=lambda item: item.group):
        whole = list(slices)
        for slice_ in whole[len(whole) // 4 : -len(whole) // 5 : LGG_EVERY]:  # skull base and vertex tell too easily
            _, mask = slice_.read()
            if (word := _word(mask)) is not None:
                for channel, sequence in enumerate(("t1", "flair", "t1ce")):
                    read = partial(_channel, slice_.read, channel, size, word)
                    yield Item(f"{slice_.name}/{sequence}", slice_.group, f"lgg-{word}", word, read)


def _channel(read: Callable[[], Pair], channel: int, size: tuple[int, int], word: bool) -> Pair:
    return _picture(read()[0][channel], size), np.array([word], np.uint8)


def _of_brats(folder: Path, size: tuple[int, int]) -> Iterator[Item]:
    for scan in load_brats(folder, ("whole tumour",)):
        image, mask = scan.read()
        brain = np.flatnonzero((image[0] > 0).mean(axis=(1, 2)) > 0.15)
        for index in brain[::BRATS_EVERY].tolist():
            if (word := _word(mask[0, index])) is not None:
                for channel, sequence in enumerate(("flair", "t1", "t1ce", "t2")):
                    read = partial(_plane, image, (channel, index), size, word)
                    yield Item(f"{scan.name}/{index}/{sequence}", scan.group, f"brats-{word}", word, read)


def _plane(scan: NDArray[Any], where: tuple[int, int], size: tuple[int, int], word: bool) -> Pair:
    """`scan` is mapped from disk, so holding it costs nothing."""
    return _picture(np.asarray(scan[where], np.float32), size), np.array([word], np.uint8)


def _picture(plane: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Grey values of any range to (3, height, width) of 0..255, cropped to the head as pictures on the web are."""
    white = max(float(np.percentile(plane, 99.5)), 1e-6)
    grey = Image.fromarray(np.clip(np.asarray(plane, np.float32) * (255 / white), 0, 255).astype(np.uint8))
    head = grey.crop(grey.point(lambda value: 255 * (value > 25)).getbbox())
    return np.repeat(np.asarray(head.resize((size[1], size[0])))[None], 3, axis=0)


def _word(mask: NDArray[np.uint8]) -> bool | None:
    """Whether there is tumour; None where there is too little to tell."""
    share = float((mask > 0).mean())
    return True if share >= SMALLEST else False if share == 0 else None
