"""Portal-phase CT slices of LiTS/MSD patients: `images/*.jpg`, `labels/*.png` and `index.json`."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.preprocess import prepare
from training.data.case import Case

# Which `tumour_label` of index.json says that the tumour pixels of the slice may be believed, their absence included.
TRUSTED = {"labelled", "none"}


def load_liver(root: Path) -> list[Case]:
    """Reads all patients; the stratum is the published split (`train` or `val`). Classes: liver with tumour, tumour.

    Raises:
        FileNotFoundError: There is no `index.json` in `root`.
    """
    entries = sorted(json.loads((root / "index.json").read_text()), key=lambda e: (e["patient"], e["slice"]))
    return [_patient(root, list(group)) for _, group in groupby(entries, key=lambda e: str(e["patient"]))]


def _patient(root: Path, entries: list[dict[str, Any]]) -> Case:
    grey = np.stack([np.asarray(Image.open(root / "images" / f"{e['slice']}.jpg").convert("L")) for e in entries])
    labels = np.stack([np.asarray(Image.open(root / "labels" / f"{e['slice']}.png")) for e in entries])
    trusted = np.array([[True, e["tumour_label"] in TRUSTED] for e in entries])
    prepared = prepare("ct-slices-v1", {"ct": grey.astype(np.float32)}, (5.0, 1.5, 1.5))
    masks = np.stack([labels >= 1, labels == 2], axis=1)
    return Case(str(entries[0]["patient"]), str(entries[0]["split"]), prepared, masks, trusted)
