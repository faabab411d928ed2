"""The contrast phase of a series by its words: native, arterial, portal venous, delayed, in the usual languages.

English, German, French, Spanish, Italian, Portuguese and Dutch; the words for "no contrast" are those of
`pipelines.rules.derived.contrast`. The patterns are searched in text that `wording.plain` has prepared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pipelines.rules.derived.contrast import negating_words
from pipelines.rules.derived.kinds import Phase
from pipelines.rules.derived.value import Derived
from pipelines.rules.derived.wording import any_of, names_whole_examination, plain
from pipelines.rules.tag_values import text

NO_WORDS = "neither words nor times tell"
_LATE = r"(?:late|laat|spat|spaet|tardi\w*|delayed)"
_VENOUS = r"ve(?:nos|nous|noes|neu[sz]|ineu[xs])\w*"
_JOINED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"\b{_LATE}[- ]?(?:hepatic )?art\w*|\bart(?:eri\w*|\.)?[- ]{_LATE}\b"), "arterial"),
    (re.compile(rf"\b{_LATE}[- ]?port\w*(?:[- ]?{_VENOUS})?|\bport\w*[- ]{_LATE}\b"), "portal"),
    (re.compile(rf"\b{_LATE}[- ]?{_VENOUS}|\b{_VENOUS}[- ]{_LATE}\b"), "delayed"),
)
"""What two words mean together: the late arterial phase is an arterial one, the late venous one a delayed one."""

_ARTERIAL = any_of(
    r"(?<![a-z])(?:fruh|frueh|early)?[- ]?arteri(?:al|el|os|eel)\w*(?! ?spin)",
    r"\ba[- ]phase\b|\bcortico[- ]?medul\w*|\bkortikomed\w*",
    r"\bpan[ck]rea\w*[- ]?(?:phase|ph)\b|\bpankreasphase\b|\b(?:fase|phase|temps) pancrea\w*",
)
_ARTERIAL_CT = any_of(r"\bart\b", r"\b[hel]ap\b")
_ANGIOGRAPHY = any_of(r"\bcta\b", r"\bct ?a\b|\bangio\w*|\bctpa\b")
"""On CT, an angiography is of arteries unless it says something else."""
_PORTAL = any_of(
    rf"(?<![a-z])port(?:al|o)?[- ]?{_VENOUS}|\bport[- ]ven\b",
    r"(?<![a-z])portaa?l\w*|\bporto\b|\bportovenou?s\w*",
    r"\bpvp\b|\bpv[- ](?:phase|ph)\b|\bvena porta",
)
_PORTAL_CT = any_of(rf"\b{_VENOUS}", r"\bven\b|\bpvs?\b|\bp[- ]?ven\b|\bhepatic phase\b")
_DELAYED = any_of(
    r"\bdelay(?:ed)?\b|\blate\b(?! ?(?:enh|gad))|\blaat\b|\blate fase\b",
    r"\b(?:spat|spaet)(?:phase|venos\w*)?\b|\bverzoe?ger\w*|\bvertraagd\w*|\bretard(?:ad|at|e)\w*",
    r"\btardi(?:f|fs|ve|ves|vo|va|o|a)\b",
    r"\b(?:a|ae|e)quilib\w*|\bequil\b|\bevenwicht\w*",
    r"\be[xs]c?[ck]ret\w*|\bausscheid\w*|\buitscheid\w*|\beliminacion\b|\bhepatobiliar\w*|\bhbp\b",
    r"\burograph\w*|\burografi\w*|\bwash[- ]?out\b",
)
_NATIVE = any_of(r"\bncct\b|\bnect\b|\bfase basal\b|\bfase diretta\b")

_SECONDS = re.compile(r"(?<![\w.,])(\d{1,3}) ?(?:s|secs?|sek|seg|segs|seconds?|sekunden|secondes|segundos|secondi)\b")
_MINUTES = re.compile(r"(?<![\w.,])(\d{1,2}) ?(?:min|mins|minutes?|minuten|minutos|minuti)\b")


def by_words(tags: Mapping[str, Any]) -> Derived[Phase]:
    """The phase that the description, else the protocol name, speaks of; None where it names none or several."""
    modality = text(tags, "Modality").upper()
    if modality not in ("CT", "MR"):
        return Derived(None, "neither CT nor MR")
    for keyword in ("SeriesDescription", "ProtocolName"):
        if keyword == "ProtocolName" and names_whole_examination(tags):
            continue
        found = _named(text(tags, keyword), ct=modality == "CT")
        if found:
            return _one(found, keyword)
    return Derived(None, NO_WORDS)


def by_study_words(tags: Mapping[str, Any]) -> Derived[Phase]:
    """The one phase that the study's description speaks of."""
    found = _named(text(tags, "StudyDescription"), ct=True)
    return _one(found, "StudyDescription") if found else Derived(None, NO_WORDS)


def _one(found: Mapping[Phase, str], keyword: str) -> Derived[Phase]:
    if len(found) > 1:
        return Derived(None, f"{keyword} names several phases")
    ((phase, words),) = found.items()
    return Derived(phase, f"{keyword} says {words!r}")


def by_delay(seconds: float) -> Phase | None:
    """The phase of an acquisition so long after the injection began; None between two phases.

    Liver: late arterial at 30 to 40 s, portal venous at 60 to 80 s, delayed from 3 minutes on.
    """
    if seconds < 0:
        return Phase.NATIVE
    for phase, first, last in ((Phase.ARTERIAL, 15, 48), (Phase.PORTAL, 55, 110), (Phase.DELAYED, 150, 3600)):
        if first <= seconds <= last:
            return phase
    return None


@lru_cache(maxsize=4096)
def _named(description: str, *, ct: bool) -> Mapping[Phase, str]:
    """The phases that a description names, each with its words."""
    words = plain(description)
    for pattern, meant in _JOINED:
        words = pattern.sub(meant, words)
    found = dict(_by_time(words)) if ct else {}
    words = _MINUTES.sub(" ", _SECONDS.sub(" ", words)) if found else words
    words = re.sub(r"\bdelay\b", " ", words) if found else words
    for phase, patterns in _patterns(ct):
        match = next(filter(None, (pattern.search(words) for pattern in patterns)), None)
        if match:
            found[phase] = match[0].strip()
    angiography = _ANGIOGRAPHY.search(words) if ct and not found.keys() - {Phase.NATIVE} else None
    if angiography:
        found[Phase.ARTERIAL] = angiography[0]
    without = negating_words(words)
    return {Phase.NATIVE: without, **found} if without else found


def _patterns(ct: bool) -> tuple[tuple[Phase, tuple[re.Pattern[str], ...]], ...]:
    return (
        (Phase.NATIVE, (_NATIVE,)),
        (Phase.ARTERIAL, (_ARTERIAL, _ARTERIAL_CT) if ct else (_ARTERIAL,)),
        (Phase.PORTAL, (_PORTAL, _PORTAL_CT) if ct else (_PORTAL,)),
        (Phase.DELAYED, (_DELAYED,)),
    )


def _by_time(words: str) -> Mapping[Phase, str]:
    """Seconds and minutes after the injection, as in `Abdomen 70s` and `3 min delay`; rotation times are shorter."""
    found: dict[Phase, str] = {}
    if "perf" in words:  # there it is how long was scanned
        return found
    for pattern, unit in ((_SECONDS, 1), (_MINUTES, 60)):
        for match in pattern.finditer(words):
            phase = by_delay(float(match[1]) * unit) if float(match[1]) * unit > 0 else None
            if phase is not None:
                found[phase] = match[0]
    return found
