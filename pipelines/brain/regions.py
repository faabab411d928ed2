"""The parts of a glioma as BraTS draws them: nested regions from the network, exclusive segments in DICOM.

Codes are those of CID 7168, Brain Lesion Segmentation Type With Necrosis (PS3.16). Its "Necrosis" is not used: BraTS
counts necrosis and tumour that does not enhance as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicomio.results.codes import ABNORMAL_STRUCTURE, BRAIN, NEOPLASM
from pipelines.findings import Label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engines.packages.manifest import LabelSpec

WHOLE, CORE, ENHANCING = "whole tumour", "tumour core", "enhancing"
CLASSES = (WHOLE, CORE, ENHANCING)
"""The network's output: each region holds the next."""

_COMMON: dict[str, Any] = {
    "category": {"value": "49755003", "scheme": "SCT", "meaning": "Morphologically Abnormal Structure"},
    "anatomic_region": {"value": "12738006", "scheme": "SCT", "meaning": "Brain"},
}
LABELS: tuple[dict[str, Any], ...] = (
    {
        "number": 1,
        "name": "edema",
        "of": WHOLE,
        "without": CORE,
        "type": {"value": "79654002", "scheme": "SCT", "meaning": "Edema"},
        "colour": [90, 200, 90],
        **_COMMON,
    },
    {
        "number": 2,
        "name": "non-enhancing core",
        "of": CORE,
        "without": ENHANCING,
        "type": {"value": "C81175", "scheme": "NCIt", "meaning": "Non-Enhancing Lesion"},
        "colour": [70, 130, 240],
        **_COMMON,
    },
    {
        "number": 3,
        "name": "enhancing",
        "type": {"value": "C113842", "scheme": "NCIt", "meaning": "Enhancing Lesion"},
        "colour": [230, 60, 50],
        **_COMMON,
    },
)
"""`labels` of a package whose classes are `CLASSES`."""

TUMOUR = Label(
    number=0,
    name="tumour",
    category=ABNORMAL_STRUCTURE,
    type=NEOPLASM,
    colour=(230, 60, 50),
    anatomic_region=BRAIN,
)
"""A lesion as a whole: no segment of its own, its parts are."""


def segments(
    regions: NDArray[np.bool_], labels: Sequence[LabelSpec], classes: Sequence[str] = CLASSES
) -> NDArray[np.uint8]:
    """Label map (...) of regions (classes, ...): what each label is `of`, but not what it is `without`.

    A voxel of an inner region that the network did not put into the outer one belongs to the inner one all the same.
    """
    out = np.zeros(regions.shape[1:], np.uint8)
    for label in labels:
        mask = regions[classes.index(label.of or label.name)]
        out[mask & ~regions[classes.index(label.without)] if label.without else mask] = label.number
    return out
