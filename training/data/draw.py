"""Which slices a batch is made of: positives oversampled, phantoms and another data set mixed in."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augment import augment
from training.data.case import Samples
from training.data.lesions import insert_lesions
from training.recipes import Recipe

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class Pool:
    """Slices to draw from; those that show the class `oversampled` make up `positive_share` of what is drawn."""

    def __init__(self, recipe: Recipe, samples: Samples) -> None:
        self.samples, self._share = samples, recipe.positive_share
        positive = samples.positive[:, recipe.oversampled]
        self._positive, self._other = np.flatnonzero(positive), np.flatnonzero(~positive)

    def draw(self, n: int, generator: np.random.Generator) -> Batch:
        """`n` slices; either kind is walked evenly at random, and replaced by the other where there is none."""
        if not len(self._positive) or not len(self._other):
            return _take(self.samples, generator.integers(len(self.samples), size=n))
        wanted = generator.random(n) < self._share
        positive, other = generator.choice(self._positive, size=n), generator.choice(self._other, size=n)
        return _take(self.samples, np.where(wanted, positive, other))


class Draw:
    """Draws batches: inputs, targets (0..1), trusted, positive, all float32 tensors.

    Args:
        recipe: Says how batches are made up.
        real: The data set.
        phantoms: Mixed in by `recipe.phantom_share`.
        more: Mixed in by `recipe.more_share`.
    """

    def __init__(
        self, recipe: Recipe, real: Samples, phantoms: Samples | None = None, more: Samples | None = None
    ) -> None:
        self._recipe, self._real, self._phantoms = recipe, Pool(recipe, real), phantoms
        self._more = None if more is None else Pool(recipe, more)

    @property
    def batches(self) -> int:
        """In an epoch of `recipe.samples_per_epoch` slices."""
        return max(1, self._recipe.samples_per_epoch // self._recipe.batch)

    def batch(self, generator: np.random.Generator) -> Batch:
        """Slices drawn by `generator`, varied by torch's."""
        phantoms, more = self._counts(generator)
        parts = [self._real.draw(self._recipe.batch - phantoms - more, generator)]
        if self._phantoms is not None and phantoms:
            parts.append(_take(self._phantoms, generator.integers(len(self._phantoms), size=phantoms)))
        if self._more is not None and more:
            parts.append(self._more.draw(more, generator))
        inputs, targets, trusted, positive = (torch.cat(column) for column in zip(*parts, strict=True))
        if self._recipe.made_up_lesions:
            insert_lesions(inputs, targets, trusted, positive, self._recipe.made_up_lesions)
        return (*augment(self._recipe.augmentation, inputs, targets), trusted, positive)

    def _counts(self, generator: np.random.Generator) -> tuple[int, int]:
        """How many phantoms and how many slices of the other data set come into a batch; at least one is real."""
        shares = [
            0.0 if self._phantoms is None else self._recipe.phantom_share,
            0.0 if self._more is None else self._recipe.more_share,
        ]
        phantoms, more, _ = generator.multinomial(self._recipe.batch - 1, [*shares, 1 - sum(shares)]).tolist()
        return phantoms, more


def _take(samples: Samples, index: NDArray[np.intp]) -> Batch:
    return (
        torch.from_numpy(samples.inputs[index]).float(),
        torch.from_numpy(samples.targets[index]).float() / 255,
        torch.from_numpy(samples.trusted[index]).float(),
        torch.from_numpy(samples.positive[index]).float(),
    )
