"""Refusals because of what the images contain: numbers, units, identity.

    GeometryRefused
    ├── SharedInstanceUIDs      different images under one SOP Instance UID
    ├── NotHounsfield           a CT whose values are something else
    ├── PatientsDiffer          images of two people
    └── MissingTags
        └── UnreadableNumbers   there is a value, and it is no number

MissingTags is in `dicomio.volumes.refusals.images`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dicomio.errors import GeometryRefused
from dicomio.volumes.refusals.images import MissingTags


@dataclass(eq=False, kw_only=True)
class UnreadableNumbers(MissingTags):
    """Images with a value where a number belongs, and that value is none.

    Attributes:
        example: The first such value.
    """

    message: ClassVar[str] = (
        "{without} of {total} images hold {example!r} in {names}, which is not a number{hint}. "
        "Export them again from the scanner."
    )

    example: str

    @property
    def hint(self) -> str:
        """What may have happened to it."""
        return " (a decimal comma; DICOM writes a point)" if "," in self.example else ""


@dataclass(eq=False, kw_only=True)
class SharedInstanceUIDs(GeometryRefused):
    """Different images under the same SOP Instance UID.

    Attributes:
        images: Number of images of the series.
        uids: Number of different SOP Instance UIDs among them.
    """

    message: ClassVar[str] = (
        "{images} different images share {uids} SOP Instance UID(s), but each needs its own. Export the series again."
    )

    images: int
    uids: int


@dataclass(eq=False, kw_only=True)
class NotHounsfield(GeometryRefused):
    """A CT whose values are no Hounsfield units.

    Attributes:
        units: The unit, as `dicomio.volumes.units` names it.
        meaning: The unit in words.
        because: The attribute that says so, with its value.
    """

    message: ClassVar[str] = (
        "The CT values are not Hounsfield units but {meaning}: {because}. Send the conventional images."
    )

    units: str
    meaning: str
    because: str


@dataclass(eq=False, kw_only=True)
class PatientsDiffer(GeometryRefused):
    """Images of more than one patient.

    Attributes:
        keywords: The attributes that contradict each other; their values are not kept.
    """

    message: ClassVar[str] = (
        "The images belong to different patients: {names} differ. Nothing was read; have the study corrected."
    )

    keywords: tuple[str, ...]

    @property
    def names(self) -> str:
        """The keywords as text."""
        return ", ".join(self.keywords)
