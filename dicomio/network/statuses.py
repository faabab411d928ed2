"""DIMSE statuses: what they mean, and which are worth another try (PS3.7, Annex C; PS3.4, table B.2-1)."""

from __future__ import annotations

from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS, code_to_category

DUPLICATE_INSTANCE = 0x0111
WARNINGS = frozenset({0x0001, 0x0107, 0x0116})
"""General warnings (PS3.7, C.4); those of storage are 0xBnnn."""

RETRYABLE = frozenset({0x0110, 0x0213, *range(0xA700, 0xA800)})
"""C-STORE statuses that may pass: processing failure, resource limitation, out of resources. Other failures mean "not
like this"."""

_OWN_WORDS = {
    0x0001: "requested optional attributes are not supported",
    DUPLICATE_INSTANCE: "it has this instance already",
}


def describe_status(status: int, comment: str = "") -> str:
    """A C-STORE status as people read it: "Failure 0xA700: refused: out of resources (disk 3 is full)"."""
    category, words = STORAGE_SERVICE_CLASS_STATUS.get(status, (code_to_category(status), ""))
    category = "Note" if status == DUPLICATE_INSTANCE else category
    words = _OWN_WORDS.get(status, " ".join(map(_small, words.split())))
    said = f"{category} 0x{status:04X}" + (f": {words}" if words else "")
    return f"{said} ({comment})" if comment else said


def is_accepted(status: int) -> bool:
    """Whether the peer has the instance now: success, a warning, or "I have it already" after an answer was lost."""
    return status in (0x0000, DUPLICATE_INSTANCE) or is_warning(status)


def is_warning(status: int) -> bool:
    """Whether the peer took it with a remark, such as coerced elements."""
    return status in WARNINGS or status >> 12 == 0xB


def _small(word: str) -> str:
    """A word of a heading as it stands in a sentence: "Out" is "out", "SOP" stays."""
    return word if word[1:].isupper() else word.lower()
