"""What a package of each system says about itself, beside its figures: data, licence, labels, limits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pipelines import brain_regions
from pipelines.brain_volume import SPACING_MM
from training.experiment import System
from training.package.manifest import BRAIN, LABELS, LICENCE, NEOPLASM
from training.package.manifest import DATA as RECIPE_DATA

_BRATS = {
    "name": "BraTS 2018/2021 (or MSD Task01_BrainTumour)",
    "licence": "research only, as the challenge's terms say",
    "citation": "Menze B et al. IEEE Trans Med Imaging 2015;34:1993; Bakas S et al. Sci Data 2017;4:170117",
}
DATA: dict[str, dict[str, str]] = {
    "lgg": RECIPE_DATA["lgg"],
    "lits": RECIPE_DATA["liver"],
    "yesno": {
        "name": "Brain MRI Images for Brain Tumor Detection (Kaggle, Chakrabarty)",
        "licence": "unknown: pictures from the web",
        "citation": "kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection",
    },
    "mr-slices": {
        "name": "grey pictures of TCGA-LGG and BraTS, sequence by sequence",
        "licence": "research only, CC BY-NC-SA 4.0 and as BraTS's terms say",
        "citation": f"{RECIPE_DATA['lgg']['citation']}; {_BRATS['citation']}",
    },
    "brats": _BRATS,
    "brains": _BRATS,
}
LICENCES = {
    "lgg": LICENCE["lgg"],
    "lits": LICENCE["liver"],
    "yesno": "Weights: research only, the training data's licence is unknown",
    "mr-slices": "Weights: research only, CC BY-NC-SA 4.0 as part of the training data",
    "brats": "Weights: research only, as the training data",
    "brains": "Weights: research only, as the training data",
}
_COLOURS = ([230, 60, 50], [90, 200, 90], [70, 130, 240])


@dataclass(frozen=True)
class Served:
    """A system's package that pipelines serve.

    Attributes:
        package: Its name.
        description: One sentence for lists of packages.
        preprocessing: Parameters of the preprocessing, beside its name.
        labels: As in model.yaml.
        thresholds: Further ones, beside the one that is chosen on validation items.
        limits: What a user must know.
    """

    package: str
    description: str
    preprocessing: dict[str, Any] = field(default_factory=dict)
    labels: list[dict[str, Any]] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


_GLIOMA = Served(
    package="brain-brats-slices-unet",
    description="Outlines edema, non-enhancing and enhancing glioma on FLAIR, T1 with and without contrast, and T2",
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
SERVED = {
    "brats-slices-unet": _GLIOMA,
    "brats-resunet3d": replace(_GLIOMA, package="brain-brats-resunet3d"),  # answers alike, to be put in its place
}


def package_name(system: System) -> str:
    """The name of the system's package: its own, unless a pipeline serves it by another."""
    return SERVED[system.name].package if system.name in SERVED else system.name


def description(system: System) -> str:
    """One sentence for lists of packages, without a full stop."""
    if system.name in SERVED:
        return SERVED[system.name].description
    return f"Published system {system.row}: {system.network} on {DATA[system.data]['name']}"


def limits(system: System) -> tuple[str, ...]:
    """What a user of the package must know."""
    if system.name in SERVED:
        return SERVED[system.name].limits
    return (
        "Trained as the publication did, for comparison: no pipeline serves it.",
        f"It knows nothing but {DATA[system.data]['name']}.",
    )


def labels(system: System) -> list[dict[str, Any]]:
    """Segments of the system's classes; tumour regions have the code of a neoplasm and their own name and colour."""
    if system.task == "classification":
        return []
    if system.name in SERVED:
        return SERVED[system.name].labels
    if system.data == "lits":
        return LABELS["liver"]
    template = LABELS["lgg"][0]
    return [
        {**template, "number": number, "name": name, "colour": colour, "type": NEOPLASM, "anatomic_region": BRAIN}
        for number, (name, colour) in enumerate(zip(system.classes, _COLOURS, strict=False), start=1)
    ]
