"""Why images that could well be a volume cannot be used as what they hold: numbers, units, identity.

    GeometryRefused
    ├── SharedInstanceUIDs      different images under one SOP Instance UID
    ├── NotHounsfield           a CT whose values are something else
    ├── PatientsDiffer          images of two people
    └── MissingTags
        └── UnreadableNumbers   there is a value, and it is no number

Beside `dicomio.volumes.refusals`, and written for the same readers. None of them carries what names a patient.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicomio.errors import GeometryRefused
from dicomio.volumes.refusals import MissingTags


@dataclass(eq=False, kw_only=True)
class UnreadableNumbers(MissingTags):
    """{without} of {total} images have no number in {names}, but {example!r}{hint}. Export them from the scanner anew.

    Attributes:
        example: The first such value.
    """

    example: str

    @property
    def hint(self) -> str:
        """What may have happened to it."""
        return " (a decimal comma; DICOM writes a point)" if "," in self.example else ""


@dataclass(eq=False, kw_only=True)
class SharedInstanceUIDs(GeometryRefused):
    """{images} different images carry {uids} SOP Instance UID(s); each needs its own. Export the series anew.

    Attributes:
        images: Number of images of the series.
        uids: Number of different SOP Instance UIDs among them.
    """

    images: int
    uids: int


@dataclass(eq=False, kw_only=True)
class NotHounsfield(GeometryRefused):
    """The CT values are not Hounsfield units but {meaning}: {because}. Send the conventional images.

    Attributes:
        units: The unit, as `dicomio.volumes.units` names it.
        meaning: The unit in words.
        because: The attribute that says so, with its value.
    """

    units: str
    meaning: str
    because: str


@dataclass(eq=False, kw_only=True)
class PatientsDiffer(GeometryRefused):
    """The images are of different patients: {names} differ between them. Nothing was read; have the study corrected.

    Attributes:
        keywords: The attributes that contradict each other; their values are not kept.
    """

    keywords: tuple[str, ...]

    @property
    def names(self) -> str:
        """The keywords as text."""
        return ", ".join(self.keywords)
