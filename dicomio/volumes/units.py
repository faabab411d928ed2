"""The unit of a series' pixel values, from its header."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

HOUNSFIELD = "HU"

MEANINGS = {
    "HU": "Hounsfield units",
    "HU_MOD": "modified Hounsfield units",
    "HU_MONO": "Hounsfield units at one energy (monoenergetic)",
    "MGML": "milligrams per millilitre",
    "Z_EFF": "effective atomic numbers",
    "ED": "electron densities",
    "EDW": "electron densities relative to water",
    "PCT": "percentages",
    "OD": "optical densities",
    "US": "of no stated unit",
}
"""Units of CT (PS3.3 C.11.1.1.2) in words; HU_MONO is ours."""

_OF_IMAGE_TYPE = {
    "VMI": "HU_MONO",
    "MONOENERGETIC": "HU_MONO",
    "MONO": "HU_MONO",
    "MONOE": "HU_MONO",
    "KEV": "HU_MONO",
    "IODINE": "MGML",
    "IODINE_MAP": "MGML",
    "IODINEMAP": "MGML",
    "IODINE_NO_WATER": "MGML",
    "WATER_NO_IODINE": "MGML",
    "MAT_SPECIFIC": "MGML",
    "MAT_REMOVED": "HU_MOD",
    "MAT_MODIFIED": "HU_MOD",
    "VNC": "HU_MOD",
    "VUE": "HU_MOD",
    "MAT_FRACTIONAL": "PCT",
    "MAT_VALUE_BASED": "US",
    "EFF_ATOMIC_NUM": "Z_EFF",
    "Z_EFF": "Z_EFF",
    "ZEFF": "Z_EFF",
    "RHO_Z": "US",
    "ELECTRON_DENSITY": "ED",
    "CBF": "US",
    "CBV": "US",
    "MTT": "US",
    "TTP": "US",
    "TMAX": "US",
}
"""Multi-energy images by ImageType (PS3.3 C.8.15.3.1.4, and what vendors wrote before), and perfusion maps."""


class Units(NamedTuple):
    """The unit ('' if it is not stated), and what it was read from."""

    name: str
    because: str

    @property
    def meaning(self) -> str:
        """In words."""
        return MEANINGS.get(self.name, self.name)


def units_of(modality: str, rescale_type: str, image_type: Iterable[str], units: str = "") -> Units:
    """What the values of an image are numbers of.

    CT that states no unit is in Hounsfield units (PS3.3 C.8.2.1.1.2 wants RescaleType for everything else). Other
    modalities have the unit that they state, mostly none.

    Args:
        modality: Modality of the series.
        rescale_type: RescaleType, '' if it is not there.
        image_type: Values of ImageType.
        units: Units, which PET has, '' if it is not there.
    """
    if modality.upper() != "CT":
        said = rescale_type.strip().upper() or units.strip().upper()
        return Units(said, "RescaleType" if rescale_type.strip() else "Units" if said else "nothing says so")
    stated = rescale_type.strip().upper().replace(".", "")
    if stated and stated != HOUNSFIELD:
        return Units(stated, f"RescaleType is {rescale_type.strip()}")
    for value in image_type:
        if unit := _of_image_type(value):
            return Units(unit, f"ImageType says {value.strip()}")
    return Units(HOUNSFIELD, f"RescaleType is {HOUNSFIELD}" if stated else "a CT that does not say otherwise")


def _of_image_type(value: str) -> str:
    """By the value as a whole, or by one of its words: `DE_VNC`, `MONO 40 KEV`, `IODINE CONCENTRATION`."""
    value = value.strip().upper()
    whole = _OF_IMAGE_TYPE.get(value.replace(" ", "_"))
    words = (_OF_IMAGE_TYPE.get(word.strip("0123456789+-")) for word in value.replace("_", " ").split())
    return whole or next(filter(None, words), "")
