"""TCGA lower-grade glioma in the layout of Kaggle's `lgg-mri-segmentation` (Buda et al. 2019)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.preprocess import prepare
from training.data.case import Case

# The tifs carry no geometry: 256 pixels over a field of view of about 240 mm, slices about 5 mm apart.
# Heads in them measure 130 to 210 pixels across, so training varies the scale around this guess.
SPACING = (5.0, 0.9375, 0.9375)


def load_lgg(root: Path) -> list[Case]:
    """Reads every patient under `root` (the folder that holds `kaggle_3m`, or that folder itself), sorted by id.

    Raises:
        FileNotFoundError: No patient folder is there.
    """
    folder = root / "kaggle_3m" if (root / "kaggle_3m").is_dir() else root
    patients = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.startswith("TCGA_"))
    if not patients:
        raise FileNotFoundError(f"no folders TCGA_* in {folder}; expected the layout of Kaggle's lgg-mri-segmentation")
    return [load_patient(path) for path in patients]


def load_patient(folder: Path) -> Case:
    """Reads one patient: `<patient>_<n>.tif` (T1, FLAIR, T1 with contrast as colours) and `_mask.tif`, by number."""
    paths = sorted((p for p in folder.glob("*.tif") if not p.stem.endswith("_mask")), key=_number)
    images = _stack(paths)
    masks = _stack([p.with_name(f"{p.stem}_mask.tif") for p in paths]) > 127
    t1, flair, t1ce = (images[..., channel] for channel in range(3))
    prepared = prepare("brain-slices-v1", {"t1": t1, "flair": flair, "t1ce": t1ce}, SPACING)
    trusted = np.ones((len(paths), 1), bool)
    return Case(folder.name, folder.name.split("_")[1], prepared, masks[:, None], trusted, math.prod(SPACING) / 1000)


def _number(path: Path) -> int:
    return int(path.stem.rsplit("_", 1)[1])


def _stack(paths: list[Path]) -> NDArray[Any]:
    return np.stack([np.asarray(Image.open(path)) for path in paths])
