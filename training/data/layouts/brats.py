"""Four MR sequences with expert labels: the BraTS layout, and Task01_BrainTumour of the Medical Segmentation Decathlon.

Both come out alike: channels FLAIR, T1, T1 with contrast, T2; masks of the classes that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.items import Item, Pair
from training.data.layouts.volumes import VolumeCache, read_oriented, spacing_of

SEQUENCES = ("flair", "t1", "t1ce", "t2")

# Each class in BraTS's numbers: 1 necrotic or non-enhancing core, 2 edema, 4 enhancing.
CLASSES: dict[str, tuple[int, ...]] = {
    "edema": (2,),
    "non-enhancing": (1,),
    "enhancing": (4,),
    "whole tumour": (1, 2, 4),
    "tumour core": (1, 4),
}
# Task01 numbers edema 1, non-enhancing 2, enhancing 3.
TO_BRATS = np.array([0, 2, 1, 4], np.uint8)


def load_brats(root: Path, classes: Sequence[str], cache: VolumeCache | None = None) -> list[Item]:
    """Scans (4, slices, rows, columns) with masks (classes, slices, rows, columns), read when wanted.

    The layout is told by what is there: `imagesTr/` is the Decathlon's, `<id>/<id>_flair.nii.gz` is BraTS's. The group
    is the patient, except that all `2013_*` cases are one group; the stratum is the centre, where the id says it.

    Raises:
        FileNotFoundError: Neither layout is there.
        KeyError: A class that `CLASSES` does not have.
    """
    cache, numbers = cache or VolumeCache(), [CLASSES[name] for name in classes]
    items = _decathlon(root, numbers, cache) if (root / "imagesTr").is_dir() else _brats(root, numbers, cache)
    if not items:
        raise FileNotFoundError(
            f"no scans in {root}; expected imagesTr/ and labelsTr/, or folders <id>/ with "
            f"<id>_flair, _t1, _t1ce, _t2 and _seg (.nii.gz or .nii)"
        )
    return items


def _decathlon(root: Path, numbers: Sequence[tuple[int, ...]], cache: VolumeCache) -> list[Item]:
    images = sorted(
        p for p in (root / "imagesTr").glob("*.nii*") if not p.name.startswith(".")
    )  # macOS leaves ._ files
    return [
        _item(p.name.split(".")[0], (p, root / "labelsTr" / p.name), numbers, cache, partial(_stacked, p))
        for p in images
    ]


def _brats(root: Path, numbers: Sequence[tuple[int, ...]], cache: VolumeCache) -> list[Item]:
    items = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        paths = [_file(folder, name) for name in (*SEQUENCES, "seg")]
        present = [path for path in paths if path is not None]
        if len(present) == len(paths):
            read = partial(_four_files, present[:-1])
            items.append(_item(folder.name, tuple(present), numbers, cache, read))
    return items


def _item(
    name: str,
    paths: tuple[Path, ...],
    numbers: Sequence[tuple[int, ...]],
    cache: VolumeCache,
    read: Callable[[], NDArray[Any]],
) -> Item:
    group = "2013" if "_2013_" in name else name
    load = partial(_read, paths, numbers, cache, read)
    return Item(name, group, centre(name), True, load, spacing_of(paths[0]))


def centre(name: str) -> str:
    """The centre in a BraTS id (`Brats18_CBICA_ABM_1`: CBICA; every TCIA collection: TCIA), or the id's first word."""
    parts = name.split("_")
    return parts[1].rstrip("0123456789") or parts[1] if parts[0].startswith("Brats1") and len(parts) > 2 else parts[0]


def _read(
    paths: tuple[Path, ...], numbers: Sequence[tuple[int, ...]], cache: VolumeCache, read: Callable[[], NDArray[Any]]
) -> Pair:
    image = cache.get(paths[:-1], read)
    labels = cache.get(paths[-1:], partial(_labels, paths[-1], decathlon=len(paths) == 2))
    return image, np.stack([np.isin(labels, number) for number in numbers]).astype(np.uint8)


def _labels(path: Path, *, decathlon: bool) -> NDArray[np.uint8]:
    labels = read_oriented(path).astype(np.uint8)
    allowed = {0, 1, 2, 3} if decathlon else {0, 1, 2, 4}
    if strangers := set(np.unique(labels).tolist()) - allowed:
        raise ValueError(f"{path}: expected labels {sorted(allowed)}, received also {sorted(strangers)}")
    return TO_BRATS[labels] if decathlon else labels


def _stacked(path: Path) -> NDArray[Any]:
    """Task01 stacks FLAIR, T1, T1 with contrast, T2 in this order."""
    return _compact(read_oriented(path))


def _four_files(paths: Sequence[Path]) -> NDArray[Any]:
    return _compact(np.stack([read_oriented(path) for path in paths]))


def _compact(image: NDArray[Any]) -> NDArray[Any]:
    """16 bits where the values fit: a scan is 72 MB then, not 143."""
    whole = np.array_equal(image, np.rint(image)) and float(np.abs(image).max(initial=0)) < 32768
    return image.astype(np.int16 if whole else np.float32)


def _file(folder: Path, name: str) -> Path | None:
    for ending in (".nii.gz", ".nii"):
        if (path := folder / f"{folder.name}_{name}{ending}").exists():
            return path
    return None
