"""Something that runs a package's network, to be measured beside others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from engines.contract import Arrays

Run = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Contender:
    """Something that runs a package's network.

    Attributes:
        engine: Column in the table: a backend, or "torch eager".
        precision: Same.
        opening: Opens it and gives its run function, and closes it; must be picklable for `memory`.
        comparable: Whether it has the package's weights, so that its answers mean something.
    """

    engine: str
    precision: str
    opening: Callable[[], AbstractContextManager[Run]]
    comparable: bool = True
