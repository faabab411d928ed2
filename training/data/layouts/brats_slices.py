"""BraTS scans as further slices for the 2D glioma network: FLAIR, T1 and T1 with contrast, whole tumour outlined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipelines.preprocess import prepare
from training.data.case import Case, Samples, gather
from training.data.layouts.brats import load_brats
from training.data.layouts.volumes import VolumeCache

EVERY = 4
"""Scans are resampled to 1 mm, so every fourth slice is as far from the next as a scanner's."""

MAYBE_LGG = ("TCIA09", "TCIA10", "TCIA12", "TCIA13", "BraTS2021")
"""Ids that hold, or may hold, patients of TCGA-LGG, whom the Kaggle set has too: some of those are held out."""


def brats_slices(root: Path, cache: VolumeCache | None = None) -> Samples:
    """Every fourth slice of every scan in the BraTS layout that cannot be a patient of TCGA-LGG.

    Raises:
        FileNotFoundError: There is no such scan.
    """
    return gather(_cases(root, cache), EVERY)


def _cases(root: Path, cache: VolumeCache | None) -> Iterator[Case]:
    for item in load_brats(root, ("whole tumour",), cache):
        if any(part in item.name for part in MAYBE_LGG):
            continue
        (flair, t1, t1ce, _), truth = item.read()
        images = {"flair": np.asarray(flair), "t1": np.asarray(t1), "t1ce": np.asarray(t1ce)}
        prepared = prepare("brain-slices-v1", images, (item.spacing[0], item.spacing[1], item.spacing[2]))
        masks = np.moveaxis(truth > 0, 0, 1)
        yield Case(item.name, item.stratum, prepared, masks, np.ones(masks.shape[:2], bool))
