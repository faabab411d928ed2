from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A coded concept (PS3.3 8.8): what it is called is for people, value and scheme are what it is.

    Attributes:
        value: Code Value, such as "108369006".
        scheme: Coding Scheme Designator, such as "SCT", "DCM" or "UCUM".
        meaning: Code Meaning, such as "Neoplasm"; not part of the identity of a concept, so two codes that differ
            only here compare equal.
    """

    value: str
    scheme: str
    meaning: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Code) and (self.value, self.scheme) == (other.value, other.scheme)

    def __hash__(self) -> int:
        return hash((self.value, self.scheme))

    def __str__(self) -> str:
        return f"{self.meaning} ({self.scheme} {self.value})"
