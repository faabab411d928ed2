"""What the published layouts yield: items, each an image with its truth that is read only when it is wanted.

`Case` holds a patient prepared as serving prepares it; an item is what the publications train on: a picture, a slice as
it lies on disk, a whole scan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Pair = tuple[NDArray[Any], NDArray[np.uint8]]
SplitBy = Literal["patient", "slice"]


@dataclass(frozen=True, eq=False)
class Item:
    """One image of a data set.

    Attributes:
        name: Unique in the data set.
        group: What a split by patient keeps together: the patient, or a cluster of near duplicates.
        stratum: What a split keeps in proportion: the site, or the class.
        positive: There is tumour in it.
        read: Reads (image (channels, ...), truth (classes, ...) of 0 and 1); a picture's truth is (classes,).
        spacing: Of the spatial axes, in mm; ones where the layout does not say.
    """

    name: str
    group: str
    stratum: str
    positive: bool
    read: Callable[[], Pair]
    spacing: tuple[float, ...] = (1.0, 1.0)


class Splittable(Protocol):
    """What can be held out."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def group(self) -> str: ...  # noqa: D102

    @property
    def stratum(self) -> str: ...  # noqa: D102


S = TypeVar("S", bound=Splittable)


def split_items(
    items: Sequence[S], share: float, seed: int, by: SplitBy = "patient", *, every_stratum: bool = False
) -> tuple[list[S], list[S]]:
    """Splits into (rest, held out), about `share` of every stratum held out; the same for the same seed.

    By patient, whole groups are held out: neighbouring slices look alike, so a split by slice, as the publications
    made it, measures memory as well as skill.

    Args:
        items: Items, or patients.
        share: How much is held out.
        seed: Of the draw.
        by: What stays together.
        every_stratum: At least one of every stratum of several is held out.
    """
    key, generator, held_out = _key(by), np.random.default_rng(seed), set[str]()
    for _, owners in _strata(items, key):
        least = int(every_stratum and share > 0 and len(owners) > 1)
        held_out.update(generator.permutation(owners)[: max(round(share * len(owners)), least)].tolist())
    return [i for i in items if key(i) not in held_out], [i for i in items if key(i) in held_out]


def fold_items(
    items: Sequence[S], fold: int, folds: int, seed: int, by: SplitBy = "patient"
) -> tuple[list[S], list[S]]:
    """(rest, held out) of one fold of a cross-validation; over all folds every item is held out exactly once.

    Groups stay together, and every stratum is dealt evenly to the folds.

    Args:
        items: All of them.
        fold: Which one, from 0.
        folds: How many there are.
        seed: Of the deal, which is the same for every fold.
        by: What stays together.
    """
    key, held_out, generator = _key(by), set[str](), np.random.default_rng(seed)
    for _, owners in _strata(items, key):
        held_out.update(generator.permutation(owners).tolist()[fold::folds])
    return [i for i in items if key(i) not in held_out], [i for i in items if key(i) in held_out]


def _key(by: SplitBy) -> Callable[[Any], str]:
    return attrgetter("group" if by == "patient" else "name")


def _strata(items: Sequence[S], key: Callable[[S], str]) -> list[tuple[str, list[str]]]:
    """The owners of each stratum, in order; a group of several strata counts in the one of its first item."""
    first = {key(item): item.stratum for item in reversed(items)}
    return [(s, sorted(owner for owner, its in first.items() if its == s)) for s in sorted(set(first.values()))]
