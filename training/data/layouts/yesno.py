"""Kaggle's brain-mri-images-for-brain-tumor-detection: `yes/` and `no/`, pictures from the web without patient ids."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import structlog
from PIL import Image, ImageOps

from training.data.duplicates import find_duplicates
from training.data.head_box import head_box
from training.data.items import Item, Pair

log = structlog.get_logger(__name__)

Duplicated = Literal["drop", "keep", "ignore"]
View = Literal["whole", "head"]
MARGIN = 0.04
"""Around the head, as a share of it."""


def load_yesno(root: Path, size: tuple[int, int], duplicated: Duplicated = "drop", view: View = "whole") -> list[Item]:
    """Pictures (3, height, width) of 0..255 with truth (1,); the stratum is `yes` or `no`.

    Args:
        root: The folder with `yes/` and `no/`.
        size: (height, width) that every picture is stretched to, as the publication does.
        duplicated: `drop` keeps the first picture of every cluster of duplicates, and none of one that is both yes and
            no; `keep` keeps them all in one group, so that a split by patient cannot tear them apart; `ignore` makes
            every picture its own group, as the publication did: copies of training pictures are then validated on.
        view: `whole` as published, where the shape of the picture and its margins tell much of the answer, or `head`,
            cropped to it with a margin.

    Raises:
        FileNotFoundError: One of the two folders is missing or empty.
    """
    paths = [path for label in ("no", "yes") for path in _pictures(root / label)]
    found = find_duplicates(paths)
    log.info("duplicates", pictures=found.pictures, exact=found.exact, near=found.near, handling=duplicated)
    groups = range(len(paths)) if duplicated == "ignore" else found.groups
    items = [_item(path, f"cluster-{group:04d}", size, view) for path, group in zip(paths, groups, strict=True)]
    return _distinct(items) if duplicated == "drop" else items


def _pictures(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not paths:
        raise FileNotFoundError(f"no pictures in {folder}; expected yes/ and no/ with .jpg, .jpeg or .png files")
    return paths


def _item(path: Path, group: str, size: tuple[int, int], view: View) -> Item:
    label = path.parent.name
    return Item(f"{label}/{path.name}", group, label, label == "yes", partial(_read, path, size, view))


def _distinct(items: list[Item]) -> list[Item]:
    labels: dict[str, set[str]] = {}
    for item in items:
        labels.setdefault(item.group, set()).add(item.stratum)
    first = {item.group: item for item in reversed(items) if len(labels[item.group]) == 1}
    return [item for item in items if first.get(item.group) is item]


def _read(path: Path, size: tuple[int, int], view: View) -> Pair:
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    picture = (picture if view == "whole" else _head(picture)).resize((size[1], size[0]))
    truth = np.array([path.parent.name == "yes"], np.uint8)
    return np.moveaxis(np.asarray(picture), -1, 0), truth


def _head(picture: Image.Image) -> Image.Image:
    left, top, right, bottom = head_box(picture.convert("L"))
    across, down = round(MARGIN * (right - left)), round(MARGIN * (bottom - top))
    return picture.crop((left - across, top - down, right + across, bottom + down))
