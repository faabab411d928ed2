"""Whether a contrast agent had been given: from the words of a series, in many languages, and from the agent's tags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipelines.rules.derived.value import Derived
from pipelines.rules.derived.wording import any_of, names_whole_examination, plain
from pipelines.rules.tag_values import number, text

_AGENTS = "gadavist|gadovist|dotarem|clariscan|magnevist|multihance|prohance|primovist|eovist|omniscan|vueway|elucirem"

_NONE = any_of(
    r"\bpre(?![- ]?(?:op|sat|scan|treat|surg|rt\b|chemo|frontal|cession))"
    r"(?:[- ]?(?:gd|gad\w*|con\w*|c|km|kontrast|inj\w*|ce))?\b",
    r"\bpre[- ]?contrast|\bprecontrast|\bplain\b",
    r"\bw/?o\b(?! ?fs)(?: (?:contrast|con|iv|c|gd|gad\w*))?|\bwithout(?: iv)?(?: c\b| con\w*| gd| gad\w*|$)",
    r"\bnon?[- ]?(?:iv )?(?:contrast\w*|con\b|gd\b|gad\w*|c\b|ce\b|enhanced)|\bunenhanced|\bnect\b|\bnoncon",
    r"(?:^| )-c\b|(?<![a-z])c-(?=$| )",
    r"\bnativ[eoa]?\b|\bnativbild\b|\bnat\b|\b(?:ohne|vor)(?: i\.?v\.?)? ?(?:km|kontrast\w*|gd|gado\w*)",  # German
    r"\b(?:sans|avant)(?: l)?[ ']*(?:inj\w*|contraste|gado\w*|gd|iv|pdc)|\bs/inj",  # French
    r"\bsin (?:contraste|civ|gd|gado\w*|iv)|\bs/c\b|\bsimple\b|\bsem (?:contraste|gd)",  # Spanish, Portuguese
    r"\b(?:senza|prima) (?:mdc|contrasto|m\.d\.c|gd)|\bbasale\b|\bdiretta\b",  # Italian
    r"\b(?:zonder|voor) (?:contrast|km|gd|iv)|\bblanco\b",  # Dutch
    r"\b(?:uten|utan|uden) (?:kontrast|km)|\bu/k\b",  # Norwegian, Swedish, Danish
)

_GIVEN = any_of(
    r"\+ ?c(?:e|on\w*)?\b|(?<![a-z])c ?\+(?=$|[ ,)/])|\+ ?(?:gd|gad\w*|km|inj\w*|iv)\b|\b(?:gd|gad|km|iv) ?\+",
    r"\bpost(?![- ]?(?:op|proc|surg|treat|rt\b|chemo|void|mict|mort|traum|rad|fossa|erior))"
    r"(?:[- ]?(?:gd|gad\w*|con\w*|c|km|kontrast|inj\w*|ce|mdc))?\b",
    r"\bgd\b|\bgad(?:o\w*)?\b|\bgd[- ]?(?:dtpa|bopta|dota)|" + _AGENTS,
    r"\bt1(?:w|wi)?[- ]?(?:gd|gad|ce|c|km|c\+|kontrast)\b|\bt1w?post\b|\bt1.*/c$",
    r"\bce\b|\bcemra\b|\bcect\b|\bcontrast[- ]?enh|\benhanced\b|\bhepatobiliary\b|\bhbp\b",
    r"\bdsc\b|\bdce\b|\bpwi\b|^(?!.*asl).*\bperf",  # perfusion, but for spin labelling
    r"\bw(?:ith)?/? ?(?:iv )?(?:con(?:trast)?|gd|gad\w*)\b|\bw/c\b",
    r"\bkm\b|\b(?:mit|nach)(?: i\.?v\.?)? ?(?:km|kontrast\w*|gd|gado\w*)|\bkontrast(?:mittel)?\b",  # German
    r"\b(?:avec|apres)(?: l)?[ ']*(?:inj\w*|contraste|gado\w*|gd|iv|pdc)|\binj(?:ect\w*|ecte\w*)?\b",  # French
    r"\bcon (?:contraste|civ|gd|gado\w*|mdc|contrasto|m\.d\.c)|\bc/c\b|\bcontrastad\w*|\bciv\b",  # Spanish, Italian
    r"\bcom (?:contraste|gd)|\bpos(?: |-)(?:contraste|gd)",  # Portuguese
    r"\b(?:dopo|post) (?:mdc|contrasto|gd)|\bmdc\b",  # Italian
    r"\b(?:met|na) (?:contrast|km|gd|iv)|\bmed (?:kontrast|km)\b|\bm/k\b",  # Dutch, Norwegian, Swedish, Danish
)

_PHASE = any_of(
    r"arterial(?! spin)|arteriell?\b|\barteri(?:oso?|a)\b|\bart(?:\.|erielle)? ?(?:phase|ph)\b",
    r"portal(?:e|ven\w*)?\b|\bpv(?:p|s)?\b|\bportoven\w*|\bporto[- ]?venous",
    r"\b(?:delayed|late|spat|tardiv\w*) ?(?:phase|ph|phasis)?\b|\bnephro(?:graphic)?\b|\bexcretory\b",
)
_PHASE_CT = any_of(r"\bven(?:ous|os|oes|eux|euse|osa|oso|ose)\b|\bcta\b|\bangio|\bct ?a\b|\bart\b|\bven\b|\bi\.?v\.?\b")
"""What speaks of contrast on CT only: MR shows veins and arteries without any."""

_BOTH = any_of(
    r"\bw(?:ith)?(?:/| |&|\+|and)*w/?o\b|\bw(?:ith)? ?(?:and|&|/|\+) ?w(?:ithout|/?o)\b",
    r"\bwithout (?:and|&|then) with\b|\bw/?o ?(?:and|&|/|\+) ?w(?:ith)?\b",
    r"\bpre (?:and|und|&|\+) post\b|\bpre[/-]post\b|\b(?:mit|ohne) (?:und|u\.) (?:ohne|mit)\b",
    r"\b(?:sans|avec) (?:et|puis) (?:avec|sans)\b|\bsenza (?:e|ed) con\b|\bcon y sin\b|\bsin y con\b",
)
"""An examination with both: says nothing of this series."""

_NO_AGENT = re.compile(
    r"none?|no?|nein|nil|0|-+|n/?a|without|w/o|sans|ohne|keine?|senza|sin|unknown|false|no (?:contrast|agent)"
)


def contrast(tags: Mapping[str, Any], *, after_contrast: bool = False) -> Derived[bool]:
    """Whether a contrast agent had been given when the series was acquired.

    What the series' own words say comes first, then the agent's tags: technologists name series one by one, while the
    agent is often carried over from the examination. An MR series that is described and says nothing was acquired
    without, by the way people name things; but not when another series of the study had contrast before
    (`after_contrast`). On CT, silence says nothing.
    """
    modality = text(tags, "Modality").upper()
    for keyword in ("SeriesDescription", "ProtocolName"):
        if keyword == "ProtocolName" and names_whole_examination(tags):
            continue
        said = _from_words(plain(text(tags, keyword)), modality)
        if said is not None:
            return Derived(said[0], f"{keyword} says {said[1]!r}")
    agent = _agent(tags)
    if agent:
        return Derived(True, agent)
    return _without_words(tags, modality, after_contrast)


def negating_words(words: str) -> str:
    """The words by which a text, prepared by `plain`, says that no contrast agent was given; '' if it does not."""
    found = None if _BOTH.search(words) else _NONE.search(words)
    return found[0].strip() if found else ""


def _from_words(words: str, modality: str) -> tuple[bool, str] | None:
    if not words or _BOTH.search(words):
        return None
    negative = _NONE.search(words)
    if negative:
        return False, negative[0].strip()
    for pattern in (_GIVEN, _PHASE, _PHASE_CT) if modality == "CT" else (_GIVEN, _PHASE):
        positive = pattern.search(words)
        if positive:
            return True, positive[0].strip()
    return None


def _agent(tags: Mapping[str, Any]) -> str:
    agent = text(tags, "ContrastBolusAgent")
    if agent:
        return "" if _NO_AGENT.fullmatch(agent.lower()) else f"ContrastBolusAgent says {agent!r}"
    volume = number(tags, "ContrastBolusVolume")
    return f"ContrastBolusVolume says {volume:g} ml" if volume else ""


def _without_words(tags: Mapping[str, Any], modality: str, after_contrast: bool) -> Derived[bool]:
    study = plain(text(tags, "StudyDescription"))
    if _NONE.search(study) and not _BOTH.search(study) and not _GIVEN.search(_NONE.sub(" ", study)):
        return Derived(False, "StudyDescription says that none was given")
    if after_contrast:
        return Derived(None, "says nothing, and came after a series with contrast")
    if modality == "MR" and (text(tags, "SeriesDescription") or text(tags, "ProtocolName")):
        return Derived(False, "nothing speaks for contrast")
    return Derived(None, "nothing is said about contrast")
