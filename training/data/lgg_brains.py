"""TCGA-LGG patients as further brains for the network of whole brains: only their whole tumours are outlined.

The skull comes off as it does in serving, so these are also the only brains in training that look as served ones do:
real heads, thick slices, an outline by `pipelines.brain_extraction`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from dicomio.grid import resample_onto
from dicomio.volume import Volume
from pipelines.brain_extraction import extract_brain
from pipelines.brain_grid import box_around, sample
from pipelines.brain_volume import CHANNELS, centre_of, crop, standardise
from pipelines.errors import BrainNotFound
from training.data.items import Item, Pair
from training.data.lgg import SPACING, patient_folders, read_patient
from training.data.volumes import VolumeCache

log = structlog.get_logger(__name__)

WHOLE = "whole tumour"
COVERED_MM = 165.0
"""What a patient's slices cover, from the upper jaw to beyond the vertex: the tifs do not say how thick they are."""
THINNEST_MM, THICKEST_MM = 2.0, 7.5


def load_lgg_brains(root: Path, classes: tuple[str, ...], cache: VolumeCache | None = None) -> list[Item]:
    """Every patient in Kaggle's layout whose brain is found, as `brain-volume-v1` has it; T2 is the FLAIR once more.

    Of the classes only the whole tumour is outlined; within it the others are `Item.unknown`.

    Raises:
        FileNotFoundError: No patient folder is there.
    """
    cache = cache or VolumeCache()
    items = []
    for folder in patient_folders(root):
        read = partial(_read, folder, classes, cache)
        unknown = tuple(name for name in classes if name != WHOLE)
        item = Item(folder.name, folder.name, folder.name.split("_")[1], True, read, (1.0, 1.0, 1.0), unknown)
        if item.read()[0].any():
            items.append(item)
        else:
            log.warning("no_brain", patient=folder.name)
    return items


def _read(folder: Path, classes: tuple[str, ...], cache: VolumeCache) -> Pair:
    sources = tuple(sorted(folder.glob("*.tif")))
    both = cache.get(sources, partial(_prepared, folder), ".lgg-brain")
    image, whole = both[: len(CHANNELS)], np.asarray(both[-1] > 0, np.uint8)
    return image, np.stack([whole if name == WHOLE else np.zeros_like(whole) for name in classes])


def _prepared(folder: Path) -> NDArray[np.float32]:
    """(5, slices, rows, columns): the network's input and the mask; nothing but zeros where no brain is found."""
    pictures, masks = read_patient(folder)
    thickness = float(np.clip(COVERED_MM / len(masks), THINNEST_MM, THICKEST_MM))
    t1, flair, t1ce, truth = (_volume(each, thickness) for each in (*np.moveaxis(pictures, -1, 0), masks))
    try:
        brain = extract_brain({"flair": flair}, {"flair": None})
    except BrainNotFound:
        return np.zeros((len(CHANNELS) + 1, 1, 1, 1), np.float32)
    centre = centre_of(brain.mask)
    box, mask = box_around(brain.grid, centre), crop(brain.mask, centre)
    there = {"flair": flair, "t1": t1, "t1ce": t1ce, "t2": flair}
    images = np.stack([sample(there[name], box, None) for name in CHANNELS])
    whole = resample_onto(truth, box, outside=0.0) >= 0.5
    return np.concatenate([standardise(images, mask), (whole & mask)[None].astype(np.float32)])


def _volume(array: NDArray[np.uint8] | NDArray[np.bool_], thickness: float) -> Volume:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = thickness, *SPACING[1:], 1.0
    return Volume(array.astype(np.float32), affine, "", "MR", "", (), None)
