"""TCGA lower-grade glioma as the publications read it: every tif is a picture of three colours."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.items import Item, Pair


def load_lgg_slices(root: Path, size: tuple[int, int]) -> list[Item]:
    """Slices (3, height, width) of 0..255 (T1, FLAIR, T1 with contrast) with masks (1, height, width).

    The group is the patient, the stratum the site. All masks are looked at once, to know which slices show tumour.

    Args:
        root: The folder that holds `kaggle_3m`, or that folder itself.
        size: (height, width); 256 x 256 is what is published, and anything else is resampled.

    Raises:
        FileNotFoundError: No patient folder is there.
    """
    folder = root / "kaggle_3m" if (root / "kaggle_3m").is_dir() else root
    masks = sorted(folder.glob("TCGA_*/*_mask.tif"), key=_by_number)
    if not masks:
        raise FileNotFoundError(
            f"no TCGA_*/*_mask.tif in {folder}; expected the layout of Kaggle's lgg-mri-segmentation"
        )
    return [_item(mask, size) for mask in masks]


def _by_number(mask: Path) -> tuple[str, int]:
    return mask.parent.name, int(mask.stem.removesuffix("_mask").rsplit("_", 1)[1])


def _item(mask: Path, size: tuple[int, int]) -> Item:
    patient = mask.parent.name
    positive = bool((np.asarray(Image.open(mask)) > 127).any())
    name = mask.stem.removesuffix("_mask")
    return Item(name, patient, patient.split("_")[1], positive, partial(_read, mask, size))


def _read(mask: Path, size: tuple[int, int]) -> Pair:
    picture = Image.open(mask.with_name(mask.name.replace("_mask", ""))).convert("RGB")
    truth = _fitted(Image.open(mask).convert("L"), size, Image.Resampling.NEAREST) > 127
    return np.moveaxis(_fitted(picture, size, Image.Resampling.BILINEAR), -1, 0), truth[None].astype(np.uint8)


def _fitted(picture: Image.Image, size: tuple[int, int], how: Image.Resampling) -> NDArray[np.uint8]:
    height, width = size
    return np.asarray(picture if picture.size == (width, height) else picture.resize((width, height), how))
