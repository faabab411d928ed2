"""Checks that all images are of one patient; nothing of it is stored or logged."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomio.volumes.refusals.content import PatientsDiffer

_BETWEEN_WORDS = re.compile(r"[\s^,]+")
_PADDING = " \0"


class SamePatientCheck:
    """Compares the images of one job, one by one, with the patient of the first ones.

    Identifiers must be equal. Names, birth dates and sexes must not contradict each other where both are given: they
    are blanked, completed and abbreviated between a scanner and a workstation, and the same person stays the same.
    """

    def __init__(self) -> None:
        self._patient_id: str | None = None
        self._known: dict[str, str] = {}
        self._raw: tuple[object, ...] = ()

    def add(self, dataset: Dataset, series_uid: str) -> None:
        """Compare one image with those seen before.

        Raises:
            PatientsDiffer: It is of another patient.
        """
        raw = tuple(_raw(dataset, keyword) for keyword in ("PatientID", *_AGREE, "SpecificCharacterSet"))
        if raw == self._raw:
            return
        differing = []
        patient_id = _text(dataset, "PatientID")
        if self._patient_id is None:
            self._patient_id = patient_id
        elif patient_id != self._patient_id:
            differing.append("PatientID")
        for keyword, agree in _AGREE.items():
            value = _text(dataset, keyword)
            known = self._known.setdefault(keyword, value) or value
            self._known[keyword] = known
            if value and not agree(known, value):
                differing.append(keyword)
        if differing:
            raise PatientsDiffer(series_uid=series_uid, keywords=tuple(differing))
        self._raw = raw


def _raw(dataset: Dataset, keyword: str) -> object:
    """As it stands in the file: most images of a series have the very same bytes."""
    element = dataset.get_item(Tag(keyword))
    return None if element is None else element.value


def _text(dataset: Dataset, keyword: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wrong character sets are common
        try:
            return str(dataset.get(keyword) or "").strip(_PADDING)
        except Exception:  # bytes that pydicom cannot make a value of: compared as they are
            return repr(_raw(dataset, keyword))


def _same_name(one: str, other: str) -> bool:
    """Compares words in any order; words may be abbreviated or left out. One of the scripts has to agree."""
    written, again = _scripts(one), _scripts(other)
    return not written or not again or any(_within(a, b) or _within(b, a) for a in written for b in again)


def _scripts(name: str) -> list[list[str]]:
    """The words of a name in each script that it is written in (PS3.5, 6.2.1.1)."""
    folded = "".join(c for c in unicodedata.normalize("NFKD", name).casefold() if not unicodedata.combining(c))
    return [words for group in folded.split("=") if (words := [word for word in _BETWEEN_WORDS.split(group) if word])]


def _within(some: list[str], words: list[str]) -> bool:
    return all(any(a.startswith(b) or b.startswith(a) for b in words) for a in some)


def _same_birth_date(one: str, other: str) -> bool:
    days = {day for text in (one, other) if (day := _day(text))}
    return len(days) < 2


def _day(text: str) -> str:
    """A date as eight digits, '' if it is none: anonymisers write zeros."""
    digits = text.replace(".", "").replace("-", "")
    with suppress(ValueError):
        return datetime.strptime(digits, "%Y%m%d").strftime("%Y%m%d")
    return ""


def _same_sex(one: str, other: str) -> bool:
    return {one.upper(), other.upper()} != {"M", "F"}


_AGREE: dict[str, Callable[[str, str], bool]] = {
    "PatientName": _same_name,
    "PatientBirthDate": _same_birth_date,
    "PatientSex": _same_sex,
}
