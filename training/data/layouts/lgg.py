"""TCGA lower-grade glioma in the layout of Kaggle's `lgg-mri-segmentation` (Buda et al. 2019).

`load_lgg` reads patients as serving prepares them, `load_lgg_slices` what the publications read: every tif is a picture
of three colours.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.preprocess import prepare
from training.data.case import Case
from training.data.items import Item, Pair

# The tifs carry no geometry: 256 pixels over a field of view of about 240 mm, slices about 5 mm apart.
# Heads in them measure 130 to 210 pixels across, so training varies the scale around this guess.
SPACING = (5.0, 0.9375, 0.9375)


def load_lgg(root: Path) -> list[Case]:
    """Every patient, sorted by id, with slices by number.

    Args:
        root: The folder that holds `kaggle_3m`, or that folder itself.

    Raises:
        FileNotFoundError: No patient folder is there.
    """
    return [_patient(name, list(masks)) for name, masks in groupby(_masks(root), lambda mask: mask.parent.name)]


def load_lgg_slices(root: Path, size: tuple[int, int]) -> list[Item]:
    """Slices (3, height, width) of 0..255 (T1, FLAIR, T1 with contrast) with masks (1, height, width).

    The group is the patient, the stratum the site. All masks are looked at once, to know which slices show tumour.

    Args:
        root: The folder that holds `kaggle_3m`, or that folder itself.
        size: (height, width); 256 x 256 is what is published, and anything else is resampled.

    Raises:
        FileNotFoundError: No patient folder is there.
    """
    return [_item(mask, size) for mask in _masks(root)]


def _masks(root: Path) -> list[Path]:
    """`<patient>_<n>_mask.tif`, by patient and number; the picture beside it lacks the `_mask`."""
    folder = root / "kaggle_3m" if (root / "kaggle_3m").is_dir() else root
    masks = sorted(folder.glob("TCGA_*/*_mask.tif"), key=lambda mask: (mask.parent.name, _number(mask)))
    if not masks:
        raise FileNotFoundError(
            f"no TCGA_*/*_mask.tif in {folder}; expected the layout of Kaggle's lgg-mri-segmentation"
        )
    return masks


def _number(mask: Path) -> int:
    return int(_name(mask).rsplit("_", 1)[1])


def _name(mask: Path) -> str:
    return mask.stem.removesuffix("_mask")


def _picture(mask: Path) -> Image.Image:
    return Image.open(mask.with_name(f"{_name(mask)}.tif"))


def _site(patient: str) -> str:
    return patient.split("_")[1]


def _patient(name: str, paths: list[Path]) -> Case:
    images = np.stack([np.asarray(_picture(path)) for path in paths])
    masks = np.stack([np.asarray(Image.open(path)) for path in paths]) > 127
    t1, flair, t1ce = (images[..., channel] for channel in range(3))
    prepared = prepare("brain-slices-v1", {"t1": t1, "flair": flair, "t1ce": t1ce}, SPACING)
    trusted = np.ones((len(paths), 1), bool)
    return Case(name, _site(name), prepared, masks[:, None], trusted, math.prod(SPACING) / 1000)


def _item(mask: Path, size: tuple[int, int]) -> Item:
    patient = mask.parent.name
    positive = bool((np.asarray(Image.open(mask)) > 127).any())
    return Item(_name(mask), patient, _site(patient), positive, partial(_read, mask, size))


def _read(mask: Path, size: tuple[int, int]) -> Pair:
    truth = _fitted(Image.open(mask).convert("L"), size, Image.Resampling.NEAREST) > 127
    image = _fitted(_picture(mask).convert("RGB"), size, Image.Resampling.BILINEAR)
    return np.moveaxis(image, -1, 0), truth[None].astype(np.uint8)


def _fitted(picture: Image.Image, size: tuple[int, int], how: Image.Resampling) -> NDArray[np.uint8]:
    height, width = size
    return np.asarray(picture if picture.size == (width, height) else picture.resize((width, height), how))
