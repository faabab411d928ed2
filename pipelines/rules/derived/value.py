"""An attribute that no tag states and that we derive from several: its value, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Derived(Generic[T]):
    """What we make of the header.

    Attributes:
        value: None when the header does not allow to know.
        because: What it was read from, in a few words that `rules explain` shows.
    """

    value: T | None
    because: str
