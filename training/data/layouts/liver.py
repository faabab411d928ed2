"""Liver and its tumours: LiTS 2017 (`volume-N.nii`, `segmentation-N.nii`), and folders of scattered slices.

Scattered slices are portal-phase CT of LiTS/MSD patients: `images/*.jpg`, `labels/*.png` and `index.json`. `load_liver`
reads their patients as serving prepares them, `load_lits` slices as published systems read them.
"""

from __future__ import annotations

import json
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.preprocess import prepare
from training.data.case import Case
from training.data.items import Item, Pair
from training.data.layouts.volumes import VolumeCache, read_oriented, spacing_of

CLASSES = 3  # background, liver, tumour: one of them for every pixel
# Which `tumour_label` of index.json says that the tumour pixels of the slice may be believed, their absence included.
TRUSTED = {"labelled", "none"}


def load_liver(root: Path) -> list[Case]:
    """All patients of scattered slices; the stratum is the published split (`train` or `val`).

    Classes: liver with tumour, tumour.

    Raises:
        FileNotFoundError: There is no `index.json` in `root`.
    """
    return [_patient(root, list(group)) for _, group in groupby(_index(root), key=lambda e: str(e["patient"]))]


def _index(root: Path) -> list[dict[str, Any]]:
    return sorted(json.loads((root / "index.json").read_text()), key=lambda e: (e["patient"], e["slice"]))


def _grey(root: Path, entry: dict[str, Any]) -> NDArray[np.float32]:
    return np.asarray(Image.open(root / "images" / f"{entry['slice']}.jpg").convert("L"), np.float32)


def _labels(root: Path, entry: dict[str, Any]) -> NDArray[np.uint8]:
    return np.asarray(Image.open(root / "labels" / f"{entry['slice']}.png"))


def _patient(root: Path, entries: list[dict[str, Any]]) -> Case:
    labels = np.stack([_labels(root, entry) for entry in entries])
    trusted = np.array([[True, entry["tumour_label"] in TRUSTED] for entry in entries])
    prepared = prepare("ct-slices-v1", {"ct": np.stack([_grey(root, entry) for entry in entries])}, (5.0, 1.5, 1.5))
    masks = np.stack([labels >= 1, labels == 2], axis=1)
    return Case(str(entries[0]["patient"]), str(entries[0]["split"]), prepared, masks, trusted)


def load_lits(root: Path, size: tuple[int, int], cache: VolumeCache | None = None) -> list[Item]:
    """Axial slices (1, height, width) in HU with masks (3, height, width): background, liver without tumour, tumour.

    A folder with `index.json` is read as scattered slices (0..255 HU, where the publication has -1024..1024), without
    those whose tumours are merged into the liver; any other as LiTS, of which every slice is an item. The group is the
    patient.

    Args:
        root: The folder with the volumes and the segmentations (or folders of them), or with `index.json`.
        size: (height, width); 512 x 512 is what is published, anything else is resampled.
        cache: Where the uncompressed volumes are kept.

    Raises:
        FileNotFoundError: Neither layout is there, or a volume has no segmentation.
    """
    if (root / "index.json").exists():
        return _scattered(root, size)
    volumes = sorted(root.rglob("volume-*.nii*"), key=lambda path: int(_number(path)))
    if not volumes:
        raise FileNotFoundError(f"no volume-N.nii and no index.json in {root}; expected LiTS 2017 or slices")
    segmentations = {_number(path): path for path in root.rglob("segmentation-*.nii*")}
    items = []
    for volume in volumes:
        if _number(volume) not in segmentations:
            raise FileNotFoundError(f"{volume} has no segmentation-{_number(volume)}.nii")
        items += _slices(volume, segmentations[_number(volume)], size, cache or VolumeCache())
    return items


def _number(path: Path) -> str:
    return path.name.split(".")[0].split("-")[1]


def _slices(volume: Path, segmentation: Path, size: tuple[int, int], cache: VolumeCache) -> list[Item]:
    labels = cache.get((segmentation,), partial(_uint8, segmentation))
    patient, spacing = f"volume-{_number(volume)}", spacing_of(volume)[1:]
    positive = (labels == 2).any(axis=(1, 2))
    read = partial(_read, volume, segmentation, size, cache)
    return [
        Item(f"{patient}/{index:04d}", patient, "lits", bool(tumour), partial(read, index), spacing)
        for index, tumour in enumerate(positive)
    ]


def _read(volume: Path, segmentation: Path, size: tuple[int, int], cache: VolumeCache, index: int) -> Pair:
    ct = cache.get((volume,), partial(_int16, volume))[index]
    return _pair(
        ct.astype(np.float32), np.asarray(cache.get((segmentation,), partial(_uint8, segmentation))[index]), size
    )


def _pair(ct: NDArray[np.float32], labels: NDArray[np.uint8], size: tuple[int, int]) -> Pair:
    shape = size[1], size[0]
    if labels.shape != size:
        ct = np.asarray(Image.fromarray(ct).resize(shape, Image.Resampling.BILINEAR))
        labels = np.asarray(Image.fromarray(labels).resize(shape, Image.Resampling.NEAREST))
    return ct[None], (labels == np.arange(CLASSES)[:, None, None]).astype(np.uint8)


def _int16(path: Path) -> NDArray[np.int16]:
    return np.asarray(np.clip(read_oriented(path), -32768, 32767), np.int16)


def _uint8(path: Path) -> NDArray[np.uint8]:
    return read_oriented(path).astype(np.uint8)


def _scattered(root: Path, size: tuple[int, int]) -> list[Item]:
    return [_scattered_item(root, entry, size) for entry in _index(root) if entry["tumour_label"] in TRUSTED]


def _scattered_item(root: Path, entry: dict[str, Any], size: tuple[int, int]) -> Item:
    positive = bool((_labels(root, entry) == 2).any())
    read = partial(_read_scattered, root, entry, size)
    return Item(str(entry["slice"]), str(entry["patient"]), str(entry["split"]), positive, read)


def _read_scattered(root: Path, entry: dict[str, Any], size: tuple[int, int]) -> Pair:
    return _pair(_grey(root, entry), _labels(root, entry), size)
