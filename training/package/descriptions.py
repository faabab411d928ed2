"""What a package says about itself, beside its figures: purpose, labels, channels, limits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.brain import regions as brain_regions
from pipelines.brain.volume import SPACING_MM
from training.experiment import Experiment
from training.package.sources import DATA

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
_COLOURS = ([230, 60, 50], [90, 200, 90], [70, 130, 240])
# A sphere of 8 mm: on 5 mm slices, what is smaller is a speck on one slice more often than a lesion.
_SMALLEST_ML = 0.3


@dataclass(frozen=True)
class Description:
    """What a package says of itself.

    Attributes:
        summary: One sentence for lists of packages, without a full stop.
        limits: What a user must know.
        labels: As in model.yaml.
        preprocessing: Parameters of the preprocessing, beside its name.
        thresholds: Further ones, beside the one that is chosen on validation items.
        fallback: What stands in for an input channel that a study lacks.
    """

    summary: str
    limits: tuple[str, ...]
    labels: list[dict[str, Any]] = field(default_factory=list)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    fallback: dict[str, str] = field(default_factory=dict)


_FLAIR = Description(
    summary="Outlines FLAIR-bright tumour on axial brain MR slices (FLAIR; T1 with and without contrast)",
    limits=(
        "Trained on lower-grade glioma only; other lesions that are bright on FLAIR (infarcts, edema, "
        "demyelination, surgical cavities) are outlined too, or missed.",
        "The training images carry no pixel spacing; a field of view of 240 mm was assumed and the scale varied in "
        "training.",
        "Adults, before treatment, five American sites, images of 1983 to 2003.",
    ),
    labels=LABELS["lgg"],
    preprocessing={"spacing": [1.25, 1.25]},
    thresholds={"min_volume_ml": _SMALLEST_ML},
    fallback=dict.fromkeys(("t1", "t1ce", "flair_below", "flair_above"), "flair"),
)
_LIVER_AND_TUMOURS = Description(
    summary="Outlines the liver and hypodense liver tumours on axial portal-phase CT slices",
    limits=(
        "Single slices of portal-venous phase CT; unenhanced and arterial scans were not in the training data.",
        "Few tumours: labels on the slices of 57 patients can be trusted for tumours, many of them of large lesions.",
        "Trained on slices through the liver; slices far from it were seen only as phantoms, so keep the largest "
        "connected component of the liver.",
    ),
    labels=LABELS["liver"],
    preprocessing={"spacing": None},
    thresholds={"min_volume_ml": _SMALLEST_ML},
)
_GLIOMA = Description(
    summary="Outlines edema, non-enhancing and enhancing glioma on FLAIR, T1 with and without contrast, and T2",
    preprocessing={"spacing": [SPACING_MM] * 3},
    labels=[dict(label) for label in brain_regions.LABELS],
    thresholds={"min_volume_ml": 0.1},
    limits=(
        "Trained on gliomas before treatment, all four sequences at hand; metastases, meningiomas and surgical "
        "cavities were not in the training data.",
        "Trained on images whose skull was taken off and that were registered to one grid of 1 mm by the "
        "challenge's organisers; elsewhere the pipeline's own registration and brain extraction come before it.",
        "The whole brain is looked at in one box of 160 x 192 x 160 mm; what lies beyond it is not seen.",
    ),
)
_DESCRIPTIONS = {
    "lgg-resunet": _FLAIR,
    "lgg-lite-unet": _FLAIR,
    "lgg-classifier": replace(
        _FLAIR,
        summary="Says for each axial brain MR slice how probable a FLAIR-bright tumour is",
        labels=[],
    ),
    "liver-unet": _LIVER_AND_TUMOURS,
    "liver-lite-unet": _LIVER_AND_TUMOURS,
    "brats-slices-unet": _GLIOMA,
    "brats-resunet3d": _GLIOMA,  # answers alike, to be put in its place
}


def describe(experiment: Experiment) -> Description:
    """What the package of an experiment says of itself; published systems are for comparison."""
    if experiment.name in _DESCRIPTIONS:
        return _DESCRIPTIONS[experiment.name]
    data = DATA[experiment.data]["name"]
    return Description(
        summary=f"Published system {experiment.row}: {experiment.network} on {data}",
        limits=(
            "Trained as the publication did, for comparison: no pipeline serves it.",
            f"It knows nothing but {data}.",
        ),
        labels=_labels(experiment),
    )


def _labels(experiment: Experiment) -> list[dict[str, Any]]:
    """Segments of the classes; tumour regions have the code of a neoplasm and their own name and colour."""
    if experiment.task == "classification":
        return []
    if experiment.data == "lits":
        return LABELS["liver"]
    template = LABELS["lgg"][0]
    return [
        {**template, "number": number, "name": name, "colour": colour, "type": NEOPLASM, "anatomic_region": BRAIN}
        for number, (name, colour) in enumerate(zip(experiment.classes, _COLOURS, strict=False), start=1)
    ]
