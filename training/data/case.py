"""What every data set yields: cases. A case is one patient's slices, prepared as serving prepares them, with truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.preprocess import PreparedSlices


@dataclass(frozen=True, eq=False)
class Case:
    """One patient.

    Attributes:
        name: Patient id as published.
        stratum: What a split keeps in proportion (the site, for LGG).
        prepared: The slices, ready for the network.
        masks: Truth on the source grid, (slices, classes, rows, columns), bool.
        trusted: (slices, classes), whether that class is labelled on that slice at all.
        voxel_ml: Volume of a voxel, where the slices lie beside each other; None where they are scattered.
    """

    name: str
    stratum: str
    prepared: PreparedSlices
    masks: NDArray[np.bool_]
    trusted: NDArray[np.bool_]
    voxel_ml: float | None = None

    @property
    def group(self) -> str:
        """What a split by patient keeps together."""
        return self.name

    def shows(self, channel: int) -> NDArray[np.bool_]:
        """(slices,), whether the class is on that slice."""
        return np.asarray(self.masks[:, channel].any(axis=(1, 2)), bool)


@dataclass(frozen=True, eq=False)
class Samples:
    """Slices of many cases on the network grid, ready to be drawn from.

    Attributes:
        inputs: (n, channels, height, width), float16.
        targets: (n, classes, height, width), uint8, 0..255 = share of the pixel inside the mask.
        trusted: (n, classes), bool.
        positive: (n, classes), bool: the class occurs on the slice.
    """

    inputs: NDArray[np.float16]
    targets: NDArray[np.uint8]
    trusted: NDArray[np.bool_]
    positive: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.inputs)


def gather(cases: Iterable[Case], every: int = 1) -> Samples:
    """Prepares the slices of `cases` once; augmentation happens later, on batches.

    Slices without any trusted label are left out, and of the others all but each `every`-th.
    """
    parts: list[tuple[NDArray[Any], ...]] = []
    for case in cases:
        wanted = np.flatnonzero(case.trusted.any(axis=1))[::every]
        shares = np.clip(case.prepared.place(case.masks[wanted]) * 255 + 0.5, 0, 255).astype(np.uint8)
        positive = case.masks.any(axis=(2, 3)) & case.trusted
        inputs = case.prepared.inputs().astype(np.float16)[wanted]
        parts.append((inputs, shares, case.trusted[wanted], positive[wanted]))
    if not parts:
        raise FileNotFoundError("there are no cases to train on")
    return Samples(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def split_by_slice(cases: Sequence[Case], share: float, seed: int) -> tuple[list[Case], list[Case]]:
    """(rest, held out), as publications did: every case is in both, each time with only its own slices trusted.

    Neighbours of held-out slices are trained on, so what is measured is memory as well as skill.
    """
    generator, rest, held_out = np.random.default_rng(seed), list[Case](), list[Case]()
    for case in sorted(cases, key=lambda case: case.name):
        chosen = (generator.random(len(case.trusted)) < share)[:, None]
        rest.append(replace(case, trusted=case.trusted & ~chosen))
        held_out.append(replace(case, trusted=case.trusted & chosen))
    return rest, held_out
