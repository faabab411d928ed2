"""What the published layouts yield: items, each an image with its truth that is read only when it is wanted.

`Case` holds a patient prepared as serving prepares it; an item is what the publications train on: a picture, a slice as
it lies on disk, a whole scan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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


def split_items(
    items: Sequence[Item], share: float, seed: int, by: SplitBy = "patient"
) -> tuple[list[Item], list[Item]]:
    """Splits into (rest, held out), about `share` of every stratum held out; the same for the same seed.

    By patient, whole groups are held out, and of LGG the very patients that `split_by_patient` holds out. By slice, as
    the publications did, neighbours of held-out slices are trained on: the figure then measures memory as well as
    skill.
    """
    key = _group if by == "patient" else _name
    strata: dict[str, set[str]] = {}
    first = {key(item): item.stratum for item in reversed(items)}  # a group of several strata counts in its first one
    for owner, stratum in first.items():
        strata.setdefault(stratum, set()).add(owner)
    generator, held_out = np.random.default_rng(seed), set[str]()
    for stratum in sorted(strata):
        owners = sorted(strata[stratum])
        held_out.update(generator.permutation(owners)[: round(share * len(owners))].tolist())
    return [i for i in items if key(i) not in held_out], [i for i in items if key(i) in held_out]


def fold_items(
    items: Sequence[Item], fold: int, folds: int, seed: int, by: SplitBy = "patient"
) -> tuple[list[Item], list[Item]]:
    """(rest, held out) of one fold of a cross-validation; over all folds every item is held out exactly once.

    Groups stay together, and every stratum is dealt evenly to the folds.

    Args:
        items: All of them.
        fold: Which one, from 0.
        folds: How many there are.
        seed: Of the deal, which is the same for every fold.
        by: What stays together.
    """
    key, rest, held_out = _group if by == "patient" else _name, set[str](), set[str]()
    first = {key(item): item.stratum for item in reversed(items)}
    generator = np.random.default_rng(seed)
    for stratum in sorted(set(first.values())):
        owners = generator.permutation(sorted(owner for owner, its in first.items() if its == stratum)).tolist()
        held_out.update(owners[fold::folds])
        rest.update(owner for index, owner in enumerate(owners) if index % folds != fold)
    return [i for i in items if key(i) in rest], [i for i in items if key(i) in held_out]


def _group(item: Item) -> str:
    return item.group


def _name(item: Item) -> str:
    return item.name
