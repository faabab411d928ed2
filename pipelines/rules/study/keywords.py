"""What a rule can ask about: every DICOM keyword that holds text or numbers, and what we derive."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_dict

from dicomio.files.personal import PERSONAL_ATTRIBUTES
from dicomio.files.vr import NOT_SCALAR, NUMBERS
from pipelines.rules.derived.kinds import Phase, SequenceKind
from pipelines.rules.derived.plane import AnatomicalPlane
from pipelines.rules.study.attributes import DERIVED

ValueKind = Literal["text", "number", "moment", "flag", "choice"]

_MOMENTS = frozenset({"DA", "TM", "DT"})
_CHOICES = {
    "plane": tuple(map(str, AnatomicalPlane)),
    "sequence": tuple(map(str, SequenceKind)),
    "phase": tuple(map(str, Phase)),
}
_DERIVED_KINDS: dict[str, ValueKind] = {
    "plane": "choice",
    "sequence": "choice",
    "contrast": "flag",
    "phase": "choice",
    "localizer": "flag",
    "units": "text",
    "images": "number",
    "source_ae": "text",
}
_OF_STUDIES = frozenset({"images", "source_ae"})
_IDENTIFYING = ("BirthDate", "BirthTime", "Address", "Telephone", "PatientID")
"""Parts of keywords that are kept and whose values are never shown."""
_INSTEAD = {
    "PatientBirthDate": "ask for PatientAge",
    "IssuerOfPatientID": "ask for InstitutionName or source_ae",
    "OtherPatientIDs": "ask for PatientID",
    "OperatorsName": "ask for StationName or source_ae",
}
_NOT_OF_IMAGES = frozenset({0x0000, 0x0002, 0x0004})
"""Groups of commands, of file meta information and of DICOMDIRs."""


@dataclass(frozen=True)
class Keyword:
    """One thing that a rule can ask about.

    Attributes:
        kind: text; number; moment (a date as YYYYMMDD or a time as HHMMSS); flag (true or false); choice.
        choices: The values that a choice can have.
        personal: Its values describe who the patient is, and are never shown.
    """

    name: str
    kind: ValueKind
    choices: tuple[str, ...] = ()
    personal: bool = False


class UnknownKeyword(ValueError):  # noqa: N818 - it says what it is
    """A rule asks about something that there is not; the message says what may have been meant."""


@cache
def keyword_named(name: str, *, of_study: bool = False) -> Keyword:
    """The keyword or derived attribute of a name in a rule.

    Raises:
        UnknownKeyword: There is no such DICOM keyword or derived attribute, or it cannot be compared.
    """
    if name in DERIVED:
        if of_study and name not in _OF_STUDIES:
            raise UnknownKeyword("is asked of a series, not of the study; move it to a role under series")
        return Keyword(name, _DERIVED_KINDS[name], _CHOICES.get(name, ()))
    if name not in keyword_dict:
        raise UnknownKeyword(_unknown(name))
    vr = dictionary_VR(keyword_dict[name])
    _refuse_unseen(name, vr)
    if set(vr.split(" or ")) & NOT_SCALAR:
        raise UnknownKeyword(f"holds data ({vr}) that a rule cannot compare; ask about another keyword")
    return Keyword(name, _value_kind(set(vr.split(" or "))), personal=any(part in name for part in _IDENTIFYING))


def _refuse_unseen(name: str, vr: str) -> None:
    """Refuses attributes that are never stored: a condition would find them missing in every study."""
    if vr == "PN" or name in PERSONAL_ATTRIBUTES:
        instead = _INSTEAD.get(name, "ask about what was examined and how")
        raise UnknownKeyword(f"tells who somebody is, and is not kept for rules; {instead}")
    if keyword_dict[name] >> 16 in _NOT_OF_IMAGES:
        raise UnknownKeyword("belongs to the file or the transfer, not to the image; for who sent it, ask source_ae")


def _value_kind(vrs: set[str]) -> ValueKind:
    if vrs & _MOMENTS:
        return "moment"
    return "number" if vrs & NUMBERS else "text"


def _unknown(name: str) -> str:
    meant = _by_number(name) or closest(name, (*DERIVED, "optional", *_keywords()))
    hint = f"; did you mean {meant}?" if meant else "; see docs/rules.md"
    return f"is neither a DICOM keyword nor one of {', '.join(DERIVED)}{hint}"


@cache
def _keywords() -> tuple[str, ...]:
    return tuple(entry[4] for entry in DicomDictionary.values() if entry[4])


def _by_number(name: str) -> str:
    """`(0008,103E)` or `0008103E`, which some write for SeriesDescription."""
    digits = "".join(character for character in name if character.isalnum())
    try:
        entry = DicomDictionary.get(int(digits, 16)) if len(digits) == 8 else None
    except ValueError:
        return ""
    return str(entry[4]) if entry else ""


def closest(name: str, known: Sequence[str]) -> str:
    """The known name that was most likely meant; '' when none is near. Capitals and underscores do not count."""
    folded: dict[str, str] = {}
    for other in known:
        folded.setdefault(_folded(other), other)
    wanted = _folded(name)
    if wanted in folded:
        return folded[wanted]
    begun = [other for other in folded if len(wanted) > 2 and (other.startswith(wanted) or wanted.startswith(other))]
    if len(begun) == 1:
        return folded[begun[0]]
    near = difflib.get_close_matches(wanted, folded, n=1, cutoff=0.75)
    return folded[near[0]] if near else ""


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "").replace("-", "")
