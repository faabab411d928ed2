"""BraTS scans as serving prepares them (`brain-volume-v1`): whole brains in one box, with their regions."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.brain.volume import NAME, centre_of, crop, standardise, stripped_brain
from training.data.items import Item, Pair
from training.data.layouts.brats import load_brats
from training.data.layouts.volumes import VolumeCache


def load_brains(root: Path, classes: Sequence[str], cache: VolumeCache | None = None) -> list[Item]:
    """The scans of `load_brats`, 1 mm each, as (4, slices, rows, columns) float32 and masks (classes, ...) of the box.

    Raises:
        FileNotFoundError: Neither layout is there.
        ValueError: On reading, a scan without 1 mm voxels.
    """
    cache = cache or VolumeCache()
    tag = zlib.crc32(repr(tuple(classes)).encode())
    names = f".{NAME}", f".{NAME}.{tag:08x}"
    return [
        replace(item, read=partial(_read, item, tuple(sorted(root.rglob(f"{item.name}*.nii*"))), names, cache))
        for item in load_brats(root, classes, cache)
    ]


def _read(item: Item, sources: tuple[Path, ...], names: tuple[str, str], cache: VolumeCache) -> Pair:
    if not np.allclose(item.spacing, 1.0, atol=1e-3):
        raise ValueError(f"{sources[0].parent}, {item.name}: expected voxels of 1 mm, received {item.spacing}")
    prepared = lru_cache(partial(_prepared, item))  # image and truth are made together, where they are not stored yet
    image = cache.get(sources, lambda: prepared()[0], names[0])
    return image, cache.get(sources, lambda: prepared()[1], names[1])


def _prepared(item: Item) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    raw, truth = item.read()
    raw = np.asarray(raw)
    brain = stripped_brain(raw)
    centre = centre_of(brain)
    return standardise(crop(raw, centre), crop(brain, centre)), crop(truth, centre)
