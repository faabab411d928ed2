"""Whether a series was made only to plan the others."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.rules.derived.plane import AnatomicalPlane, plane
from pipelines.rules.derived.value import Derived
from pipelines.rules.derived.wording import any_of, names_whole_examination, plain
from pipelines.rules.tag_values import Tags, codes, positive, text

_FEW_IMAGES = 60
"""Localizers are short; a long series in several planes is something else (a radial reformat, a collection)."""

_LOCALIZER_CODES = re.compile("LOCALIZER|SURVIEW|SCOUT|TOPOGRAM|SCANOGRAM")
_LOCALIZER_WORDS = any_of(
    r"\bloc(?:s|al|ali[sz](?:er|ador|ation|ateur|zatore)|alizzatore|alisateur)?\b|\blokali[sz](?:er|ator|ation)\b",
    r"scout|\bsurvey\b|\bsurview\b|topogram|\btopo\b|scanogram|\bscano\b|\bplan ?scan\b|\bpilot\b",
    r"\b(?:3|three|tri)[- ]?pl(?:ane|an)?s?\b|smart ?brain|\baahead|\bauto ?align\b",
    r"ubersicht|\breperage\b|\bcentratore\b|\bcentrage\b",
)


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
    if len(instance_tags) > 1 and images <= _FEW_IMAGES and plane(tags, instance_tags).value is AnatomicalPlane.MIXED:
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
