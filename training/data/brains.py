"""BraTS scans as serving prepares them (`brain-volume-v1`): whole brains in one box, with their regions."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.brain_volume import NAME, centre_of, crop, standardise, stripped_brain
from training.data.brats import load_brats
from training.data.items import Item, Pair
from training.data.volumes import VolumeCache


def load_brains(root: Path, classes: Sequence[str], cache: VolumeCache | None = None) -> list[Item]:
    """The scans of `load_brats`, 1 mm each, as (4, slices, rows, columns) float32 and masks (classes, ...) of the box.

    Raises:
        FileNotFoundError: Neither layout is there.
        ValueError: On reading, a scan without 1 mm voxels.
    """
    cache = cache or VolumeCache()
    items = load_brats(root, classes, cache)
    return [replace(item, read=partial(_read, item, root, tuple(classes), cache)) for item in items]


def _read(item: Item, root: Path, classes: Sequence[str], cache: VolumeCache) -> Pair:
    if not np.allclose(item.spacing, 1.0, atol=1e-3):
        raise ValueError(f"{root}, {item.name}: expected voxels of 1 mm, received {item.spacing}")
    sources = tuple(sorted(root.rglob(f"{item.name}*.nii*")))
    tag = zlib.crc32(repr(tuple(classes)).encode())
    image = cache.get(sources, lambda: _prepared(item)[0], f".{NAME}")
    return image, cache.get(sources, lambda: _prepared(item)[1], f".{NAME}.{tag:08x}")


def _prepared(item: Item) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    raw, truth = item.read()
    raw = np.asarray(raw)
    brain = stripped_brain(raw)
    centre = centre_of(brain)
    return standardise(crop(raw, centre), crop(brain, centre)), crop(truth, centre)
