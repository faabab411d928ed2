"""Long lists in pieces that fit into one IN (...): both databases have a limit.

Pieces of one length also mean few different statements, whose plans the databases keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

AT_ONCE = 500
T = TypeVar("T")


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in lists of at most AT_ONCE."""
    rest = iter(items)
    while chunk := list(islice(rest, AT_ONCE)):
        yield chunk
