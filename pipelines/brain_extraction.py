"""Where the brain is: as it comes when the skull was taken off already, else by laying a template on the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.brain_grid import millimetre_grid, sample
from pipelines.brain_stripped import is_stripped
from pipelines.brain_volume import CHANNELS, stripped_brain
from pipelines.errors import BrainNotFound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomio.volume import Volume
    from pipelines.brain_alignment import BrainStudy


@dataclass(frozen=True, eq=False)
class Brain:
    """A brain that was found.

    Attributes:
        mask: (slices, rows, columns).
        grid: The grid of the mask, 1 mm, in the FLAIR's patient coordinates.
        notes: How it was found.
    """

    mask: NDArray[np.bool_]
    grid: Volume
    notes: tuple[str, ...]


def find_brain(study: BrainStudy) -> Brain:
    """Finds the brain in a study of four sequences.

    Raises:
        BrainNotFound: Nothing that it could be.
    """
    if all(is_stripped(study.images[role]) for role in ("flair", "t1")):
        grid = millimetre_grid(study.flair)
        images = [sample(study.images[role], grid, study.transform(role)) for role in CHANNELS]
        mask = stripped_brain(np.stack(images))
        return Brain(mask, grid, ("The images came without the skull",))
    raise BrainNotFound(reason="not yet")
