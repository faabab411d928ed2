"""Makes what results inherit from their source valid, whatever the scanner wrote (PS3.5, 6.2).

Values that are still of use are corrected: too long ones are cut, forbidden characters dropped, an invalid UID is
replaced by one derived from it. Others, such as an impossible date, are left out.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from dicomio.files.vr import ANY_CHARACTER_SET, BINARY_NUMBERS, LONGEST, TEXT_WITH_BACKSLASH
from dicomio.results.dependent_attributes import drop_unaccompanied
from dicomio.results.uids import derived_uid

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_NOT_IN_PROSE = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]+")  # line feed, form feed and carriage return may be
_TIME = re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?")
_AGE = re.compile(r"[0-9]{3}[DWMY]")
_CODE = re.compile(r"[A-Z0-9 _]{1,16}")
_LENGTHS = {vr: LONGEST.get(vr, 2**20) for vr in ANY_CHARACTER_SET - {"PN"} | {"AE"}}
_PADDING = " \0"

_TERMS: Mapping[str, frozenset[str]] = {
    "PatientSex": frozenset({"M", "F", "O"}),
    "PatientIdentityRemoved": frozenset({"YES", "NO"}),
    "QualityControlSubject": frozenset({"YES", "NO"}),
    "PatientSexNeutered": frozenset({"ALTERED", "UNALTERED"}),
    "SmokingStatus": frozenset({"YES", "NO", "UNKNOWN"}),
    "ResponsiblePersonRole": frozenset(
        {"OWNER", "PARENT", "CHILD", "SPOUSE", "SIBLING", "RELATIVE", "GUARDIAN", "CUSTODIAN", "AGENT"}
    ),
    "BurnedInAnnotation": frozenset({"YES", "NO"}),
    "LossyImageCompression": frozenset({"00", "01"}),
    "UniversalEntityIDType": frozenset({"DNS", "EUI64", "ISO", "URI", "UUID", "X400", "X500"}),
}
_PREGNANCY = frozenset({1, 2, 3, 4})
_CODED = ("CodingSchemeDesignator", "CodeMeaning")
_REFERENCE = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
_ITEMS_NEED: Mapping[str, tuple[str, ...]] = {
    "ReferencedStudySequence": _REFERENCE,
    "ReferencedPatientSequence": _REFERENCE,
    "OtherPatientIDsSequence": ("PatientID", "TypeOfPatientID"),
}


@lru_cache(maxsize=65536)
def valid_uid(value: str) -> str:
    """The UID itself where it is one (PS3.5, 9.1), else one derived from it: equal values stay equal."""
    value = value.strip(_PADDING)
    if len(value) <= LONGEST["UI"] and _UID.fullmatch(value):
        return value
    return derived_uid("in place of an illegal UID", value)


def valid_text(text: str) -> str:
    """Prose without control characters: what we say may quote what a scanner wrote."""
    return _NOT_IN_PROSE.sub("", text)


def valid_character_set(header: Dataset) -> Any:
    """Specific Character Set of the source; None for the default one, and for an unusable one."""
    with suppress(Exception):  # whatever its bytes are: without it, what is not ASCII is written as UTF-8
        value = header.get("SpecificCharacterSet")
        terms = list(value) if isinstance(value, MultiValue) else [value or ""]
        extended = all(term.startswith("ISO 2022 IR ") or (term == "" and not at) for at, term in enumerate(terms))
        if any(terms) and (extended or (len(terms) == 1 and terms[0] in _ALONE)) and set(terms) <= set(python_encoding):
            return value
    return None


def valid_value(header: Dataset, keyword: str) -> Any:
    """The value of one attribute, corrected; None if it is missing, empty or cannot be corrected."""
    tag = Tag(keyword)
    if tag not in header:
        return None
    element, _ = _valid(header, tag, nested=False)
    return None if element is None or element.value in ("", None) else element.value


def study_uid_of(header: Dataset) -> str:
    """Study Instance UID of the results: the source's, unless that is none."""
    return str(valid_value(header, "StudyInstanceUID") or valid_uid(""))


def make_valid(subject: Dataset, *, nested: bool = False) -> tuple[Dataset, tuple[str, ...]]:
    """A data set of valid values only, and the keywords of what had to be corrected or left out.

    What is valid stays as it is, names byte for byte; in the items of a sequence (`nested`) they become text, because
    the data set around them may get another character set. Private attributes are left out without a word.
    """
    clean, changed = Dataset(), dict[str, None]()
    for tag in sorted(subject.keys()):
        if tag.is_private:
            continue
        element, corrected = _valid(subject, tag, nested=nested)
        if element is not None:
            clean.add(element)
        if corrected:
            changed[keyword_for_tag(tag) or str(tag)] = None
    changed.update(dict.fromkeys(drop_unaccompanied(clean)))
    return clean, tuple(changed)


def _valid(dataset: Dataset, tag: BaseTag, *, nested: bool) -> tuple[DataElement | None, bool]:
    """One element made valid (None: left out), and whether that took anything but trimming."""
    try:
        vr, vm = dictionary_VR(tag), dictionary_VM(tag)
    except KeyError:
        return None, True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom thinks of a value, we are about to correct
        try:
            found = dataset[tag]
            if vr == "SQ":
                return _sequence(tag, found.value)
            if found.value is None or str(found.value).strip(_PADDING) == "":
                return None, False  # what has to be there empty, the result has anyway
            element, changed = _element(tag, vr, vm, found.value)
        except Exception:  # bytes that are no value
            return None, True
    as_it_is = not changed and vr == found.VR and not (nested and vr == "PN")
    return found if as_it_is else element, changed


def _element(tag: BaseTag, vr: str, vm: str, value: Any) -> tuple[DataElement | None, bool]:
    before = [str(part).strip(_PADDING) for part in value] if isinstance(value, MultiValue | list) else [value]
    several = ["/".join(map(str, before))] if vm == "1" else before  # a backslash where there is one value only
    after = [
        part for part in (_corrected(keyword_for_tag(tag), vr, part) for part in several) if part not in (None, "")
    ]
    changed = [str(part) for part in after] != [str(part).strip(_PADDING) for part in before]
    if not after:
        return None, True
    return DataElement(tag, vr, after[0] if len(after) == 1 else after), changed


def _corrected(keyword: str, vr: str, value: Any) -> Any:
    if vr in BINARY_NUMBERS:
        number = value if isinstance(value, int | float) else None
        return None if keyword == "PregnancyStatus" and number not in _PREGNANCY else number
    text = (value.decode("ascii", "ignore") if isinstance(value, bytes) else str(value)).strip(_PADDING)
    if vr not in TEXT_WITH_BACKSLASH:
        text = text.replace("\\", "/")  # it would part two values
    if keyword in _TERMS:
        return text.upper() if text.upper() in _TERMS[keyword] else None
    if vr in _LENGTHS:
        return (_NOT_IN_PROSE if vr in TEXT_WITH_BACKSLASH else _CONTROL).sub("", text)[: _LENGTHS[vr]].strip()
    return _BY_VR[vr](text) if vr in _BY_VR else None


def _date(text: str) -> str | None:
    with suppress(ValueError):
        return datetime.strptime(text.replace(".", ""), "%Y%m%d").strftime("%Y%m%d") if len(text) in (8, 10) else None
    return None


def _number(text: str) -> str | None:
    with suppress(ValueError):
        return text if len(text) <= LONGEST["DS"] and abs(float(text)) < 1e15 else None
    return None


def _integer(text: str) -> str | None:
    with suppress(ValueError):
        return text if len(text) <= LONGEST["IS"] and abs(int(text)) < 2**31 else None
    return None


def _name(text: str) -> str:
    """At most three scripts of five parts and 64 characters (PS3.5, 6.2.1.1)."""
    groups = _CONTROL.sub("", text).split("=")[:3]
    return "=".join("^".join(group.split("^")[:5])[:64].strip() for group in groups)


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    return lambda text: text if pattern.fullmatch(text) else None


_BY_VR: Mapping[str, Callable[[str], str | None]] = {
    "UI": valid_uid,
    "DA": _date,
    "TM": lambda text: _matching(_TIME)(text.replace(":", "")),
    "AS": _matching(_AGE),
    "CS": _matching(_CODE),
    "DS": _number,
    "IS": _integer,
    "PN": _name,
}


def _sequence(tag: BaseTag, items: Any) -> tuple[DataElement | None, bool]:
    """A sequence goes as a whole when an item of it lacks something, or had to be corrected."""
    if not items:
        return None, False
    cleaned = [make_valid(item, nested=True) for item in items]
    name = keyword_for_tag(tag)
    if any(changed for _, changed in cleaned) or not all(_whole(name, item) for item, _ in cleaned):
        return None, True
    return DataElement(tag, "SQ", Sequence([item for item, _ in cleaned])), False


def _whole(sequence: str, item: Dataset) -> bool:
    needs = _ITEMS_NEED.get(sequence, _CODED if sequence.endswith("CodeSequence") else ())
    if not all(item.get(keyword) for keyword in needs):
        return False
    if sequence.endswith("CodeSequence"):
        return any(item.get(keyword) for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue"))
    if sequence.startswith("IssuerOf"):
        universal = item.get("UniversalEntityID") and item.get("UniversalEntityIDType")
        return bool(item.get("LocalNamespaceEntityID") or universal)
    return True


_ALONE = frozenset(term for term in python_encoding if term.startswith("ISO_IR") and term != "ISO_IR 6") | {"GB18030"}
