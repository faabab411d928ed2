"""What technologists and vendors call their sequences, in series descriptions and protocol names.

Each pattern is searched in text that `plain` has prepared: small letters without accents, underscores as spaces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pipelines.rules.tag_values import text

_SPACES = re.compile(r"[\s_^=]+")


@lru_cache(maxsize=8192)
def plain(words: str) -> str:
    """Small letters, no accents, and spaces for what stands between words (underscores join words for `re`)."""
    if not words.isascii():
        words = "".join(c for c in unicodedata.normalize("NFKD", words) if not unicodedata.combining(c))
    return _SPACES.sub(" ", words.lower()).strip()


def names_whole_examination(tags: Mapping[str, Any]) -> bool:
    """On GE, ProtocolName is the examination's, and says nothing of this series."""
    return text(tags, "Manufacturer").upper().startswith("GE")


def any_of(*patterns: str) -> re.Pattern[str]:
    """One pattern out of several, of which one must fit.

    Those that begin at a word boundary share it: then `re` looks at the beginnings of words only, and compares first
    letters before it tries an alternative; on a study of thousands of series that is most of the time.
    """
    parts = [part for pattern in patterns for part in _alternatives(pattern)]
    at_words = "|".join(part.removeprefix(r"\b") for part in parts if part.startswith(r"\b"))
    anywhere = "|".join(part for part in parts if not part.startswith(r"\b"))
    return re.compile("|".join(filter(None, (rf"\b(?:{at_words})" if at_words else "", anywhere))))


def _alternatives(pattern: str) -> list[str]:
    """Splits at every `|` that stands in no group and no set."""
    parts, depth, in_set, escaped = [""], 0, False, False
    for character in pattern:
        if not escaped:
            in_set = character == "[" or (in_set and character != "]")
            depth += (character == "(") - (character == ")") if not in_set else 0
        if character == "|" and depth == 0 and not in_set and not escaped:
            parts.append("")
        else:
            parts[-1] += character
        escaped = character == "\\" and not escaped
    return parts


SEQUENCE_NAMES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "fieldmap",
        any_of(
            r"field ?map",
            r"\bgre field",
            r"\bfmap\b",
            r"\bb[01][- ]?map",
            r"\btfl b1",
            r"\btop ?up\b",
            r"\bafi\b",
            r"spin ?echo ?field",
        ),
    ),
    (
        "diffusion_map",
        any_of(r"\beadc\b", r"\bexponential (?:adc|apparent)", r"\bcol ?fa\b", r"fraction\w* aniso", r"\btensor\b"),
    ),
    ("adc", any_of(r"\bd?adc", r"\bapparent diff", r"\bcoefficient de diff")),
    (
        "perfusion",
        any_of(
            r"\bperf",
            r"\bpwi\b",
            r"\bdsc\b",
            r"\bdce\b",
            r"\b(?:[23]d )?(?:v|p|pc|ps)?asl\b",
            r"spin label",
            r"\br?cb[fv]\b|\bmtt\b|\bttp\b|\btmax\b",
        ),
    ),
    (
        "dwi",
        any_of(
            r"\b[er]?dwi",
            r"\bdti",
            r"\bdiff",
            r"\bdwibs\b|\bdw\b|\bdt\b",
            r"\bdwssh|\bdw ssh",
            r"\btrace\b|\btracew",
            r"\bep2d diff",
            r"\bb ?\d{2,4}(?:[ ,-]|$)|\bb0\b",
            r"\bresolve\b|\bhardi\b|\bnoddi\b|\bmddw\b|\bivim\b|\bdsi\b|\bdki\b",
            r"\b\d+ ?dir(?:s|ections?)?\b",
        ),
    ),
    (
        "swi",
        any_of(r"\bswip?\b", r"\b[es]?swan\b", r"suscep", r"veno ?bold", r"\bfsbb\b|\bbsi\b|\bqsm\b"),
    ),
    ("angio", any_of(r"\bce[- ]?mra\b", r"\btwist\b|\btricks\b", r"phase contrast|\bpca\b|\bvenc\b|\bpc[- ]?mr[av]\b")),
    ("tof", any_of(r"tof\b|\btof", r"time of flight", r"\binflow\b", r"\bmra\b")),
    (
        "bold",
        any_of(r"\b(?:rs)?f ?mri", r"\bbold", r"\bresting|\brs ?fmri|\brest\b", r"\btask\b", r"\bepfid", r"\bepi bold"),
    ),
    ("dir", any_of(r"(?<!\d )\bdir\b(?! ?\d)", r"double (?:ir\b|inversion)")),
    ("spectroscopy", any_of(r"\bmrs\b", r"\bsvs\b|\bcsi\b|\bmrsi\b", r"spectro", r"\bprobe[- ]?p\b|\bpress\b")),
)
"""Names that only one kind of sequence carries, most telling first; ask them before the physics."""

_T1 = r"(?<![a-z])(?:[sedw]|cs)?t1(?!\d|rho)"
_T2 = r"(?<![a-z])(?:[sedw]|cs)?t2(?!\d)"
_NO_STAR = r"(?! ?\*|s\b| ?star| ?w? ?\*)"

WEIGHTINGS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("pd", any_of(r"\bpd.{0,12}mp ?2?[- ]?rage", r"\bproton.{0,24}mp ?2?[- ]?rage")),
    ("stir", any_of(r"\bstir", r"\bt2 ?w? ?stir")),
    ("t1", any_of(_T1 + r".{0,24}(?:flair|dark[- ]?fluid|tirm)", r"flair[- ]?t1\b")),
    ("flair", any_of(r"flair", r"dark[- ]?fluid|\bda-fl\b", r"\bspcir")),
    (
        "ssfp",
        any_of(
            r"\bciss\b|fiesta|true ?fisp|\btrufi|\bb[- ]?ffe\b|\bbtfe\b|\bssfp\b|\bbalanced\b|\bb[- ]?tfe\b|\bdess\b"
        ),
    ),
    (
        "t2star",
        any_of(
            r"t2 ?w? ?\*",
            r"t2[- ]?w?[- ]?star",
            r"\bt2s\b",
            r"\bhemo\b",
            r"\bmedic\b|\bmerge\b",
            r"\bffe[- ]?t2|\bt2[- ]?ffe",
        ),
    ),
    ("t2", any_of(_T2 + _NO_STAR, r"\bhaste\b|\bss ?fse\b|\bsstse\b|\bmrcp\b")),
    (
        "t1",
        any_of(
            _T1,
            r"mp ?2?[- ]?rage",
            r"\bbravo\b|spgr|\bvibe|\blava\b|thrive|\bquick ?3d\b",
            r"\btfl ?3d",
        ),
    ),
    ("pd", any_of(r"\bpd(?:w|fs)?\b", r"\bproton|\bprot\.? dens", r"\bdp\b", r"(?<![a-z])[se]?pdw?[ -]")),
)
"""Names of weightings, most telling first. They decide only where the physics cannot."""
