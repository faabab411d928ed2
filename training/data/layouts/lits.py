"""Liver and its tumours: LiTS 2017 (`volume-N.nii`, `segmentation-N.nii`), and folders of scattered slices."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.items import Item, Pair
from training.data.layouts.liver import TRUSTED
from training.data.layouts.volumes import VolumeCache, read_oriented, spacing_of

CLASSES = 3  # background, liver, tumour: one of them for every pixel


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
    entries = sorted(json.loads((root / "index.json").read_text()), key=lambda e: (e["patient"], e["slice"]))
    return [_scattered_item(root, entry, size) for entry in entries if entry["tumour_label"] in TRUSTED]


def _scattered_item(root: Path, entry: dict[str, Any], size: tuple[int, int]) -> Item:
    label = root / "labels" / f"{entry['slice']}.png"
    positive = bool((np.asarray(Image.open(label)) == 2).any())
    patient, split = str(entry["patient"]), str(entry["split"])
    return Item(str(entry["slice"]), patient, split, positive, partial(_read_scattered, label, size))


def _read_scattered(label: Path, size: tuple[int, int]) -> Pair:
    grey = np.asarray(Image.open(label.parents[1] / "images" / f"{label.stem}.jpg").convert("L"), np.float32)
    return _pair(grey, np.asarray(Image.open(label)), size)
