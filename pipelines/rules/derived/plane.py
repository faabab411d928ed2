"""The plane that a series was cut in, and whether it was made only to plan the others."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from pipelines.rules.derived.derived import Derived
from pipelines.rules.derived.wording import any_of, names_whole_examination, plain
from pipelines.rules.tag_values import codes, numbers, positive, text

Tags = Mapping[str, Any]


class Plane(StrEnum):
    """The values of `plane`."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    OBLIQUE = "oblique"
    MIXED = "mixed"


_NORMAL_TO = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)  # the plane whose normal is x (left), y (posterior), z (head)
_NEAREST = math.cos(math.radians(45))
"""Within 45° of one axis, people would call it by no other plane; beyond all three it is oblique."""

_FEW_IMAGES = 60
"""Localizers are short; a long series in several planes is something else (a radial reformat, a collection)."""

_LOCALIZER_CODES = re.compile("LOCALIZER|SURVIEW|SCOUT|TOPOGRAM|SCANOGRAM")
_LOCALIZER_WORDS = any_of(
    r"\bloc(?:s|al|ali[sz](?:er|ador|ation|ateur|zatore)|alizzatore|alisateur)?\b|\blokali[sz](?:er|ator|ation)\b",
    r"scout|\bsurvey\b|\bsurview\b|topogram|\btopo\b|scanogram|\bscano\b|\bplan ?scan\b|\bpilot\b",
    r"\b(?:3|three|tri)[- ]?pl(?:ane|an)?s?\b|smart ?brain|\baahead|\bauto ?align\b",
    r"ubersicht|\breperage\b|\bcentratore\b|\bcentrage\b",
)


def plane(tags: Tags, instance_tags: Sequence[Tags] = ()) -> Derived[Plane]:
    """Plane of the slices, from the direction cosines (PS3.3 C.7.6.2.1.1); the nearest one when they are oblique.

    Descriptions are not asked: an "AX" that was planned coronal is a coronal. MIXED when the images disagree.
    """
    found = {_plane_of(cosines) for cosines in _orientations(tags, instance_tags)} - {None}
    if len(found) > 1:
        return Derived(Plane.MIXED, "images lie in different planes: " + ", ".join(sorted(str(item) for item in found)))
    for only in found:
        return Derived(only, "from ImageOrientationPatient")
    lettered = _plane_of_letters(codes(tags, "PatientOrientation"))
    return Derived(lettered, "from PatientOrientation" if lettered else "no usable ImageOrientationPatient")


def _orientations(tags: Tags, instance_tags: Sequence[Tags]) -> set[tuple[float, ...]]:
    keyword = "ImageOrientationPatient"
    found = {numbers(instance, keyword) for instance in instance_tags}
    return {cosines for cosines in (found | {numbers(tags, keyword)}) if len(cosines) == 6}


def _plane_of(cosines: tuple[float, ...]) -> Plane | None:
    row, column = cosines[:3], cosines[3:]
    normal = (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )
    length = math.hypot(*normal)
    if not 0.5 < length < 1.5:  # not two perpendicular unit vectors: zeros, or nonsense
        return None
    sizes = [abs(part) / length for part in normal]
    largest = max(sizes)
    return _NORMAL_TO[sizes.index(largest)] if largest >= _NEAREST else Plane.OBLIQUE


def _plane_of_letters(letters: tuple[str, ...]) -> Plane | None:
    """PatientOrientation names the direction of rows and columns by letters, main direction first (C.7.6.1.1.1)."""
    axes = {"L": 0, "R": 0, "A": 1, "P": 1, "H": 2, "F": 2}
    if len(letters) != 2:
        return None
    row, column = axes.get(letters[0][:1]), axes.get(letters[1][:1])
    if row is None or column is None or row == column:
        return None
    return _NORMAL_TO[3 - row - column]


def localizer(tags: Tags, instance_tags: Sequence[Tags] = (), images: int = 0) -> Derived[bool]:
    """Whether the series was made to plan the others (localizer, scout, survey, topogram)."""
    for keyword in ("ImageType", "ScanOptions"):
        match = _LOCALIZER_CODES.search(" ".join(_all_codes(tags, instance_tags, keyword)))
        if match:
            return Derived(True, f"{keyword} says {match[0]}")
    named = _named_localizer(tags)
    if named:
        return Derived(True, named)
    if _looks_like_a_scout(tags, images):
        return Derived(True, "few thick 2D slices with a TR that only scouts have")
    if len(instance_tags) > 1 and images <= _FEW_IMAGES and plane(tags, instance_tags).value is Plane.MIXED:
        return Derived(True, f"{images} images in several planes")
    if any(text(tags, keyword) for keyword in ("ImageType", "SeriesDescription", "ProtocolName")):
        return Derived(False, "nothing speaks for a localizer")
    return Derived(None, "neither ImageType nor a description is given")


def _named_localizer(tags: Tags) -> str:
    """The description decides; the protocol name only when there is none."""
    description = plain(text(tags, "SeriesDescription"))
    if description or names_whole_examination(tags):
        keyword, words = "SeriesDescription", description
    else:
        keyword, words = "ProtocolName", plain(text(tags, "ProtocolName"))
    match = _LOCALIZER_WORDS.search(words)
    return f"{keyword} says {match[0]!r}" if match else ""


def _looks_like_a_scout(tags: Tags, images: int) -> bool:
    """MR scouts without a name: a handful of thick 2D gradient echoes, a second each. A cine has trigger times."""
    if text(tags, "MRAcquisitionType").upper() != "2D" or not 0 < images <= _FEW_IMAGES or text(tags, "TriggerTime"):
        return False
    timing = [positive(tags, keyword) for keyword in ("RepetitionTime", "FlipAngle", "SliceThickness")]
    if None in timing or "SE" in codes(tags, "ScanningSequence") or text(tags, "Modality") != "MR":
        return False
    repetition, flip, thickness = (value or 0.0 for value in timing)
    return repetition <= 25 and flip <= 45 and thickness >= 5


def _all_codes(tags: Tags, instance_tags: Sequence[Tags], keyword: str) -> list[str]:
    found = dict.fromkeys(codes(tags, keyword))
    for instance in instance_tags:
        found.update(dict.fromkeys(codes(instance, keyword)))
    return list(found)
