"""Which slices a batch is made of: positives oversampled, phantoms mixed in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augment import augment
from training.data.case import Samples
from training.data.lesions import insert_lesions
from training.recipes import Recipe

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class Draw:
    """Batches of one epoch after another: inputs, targets (0..1), trusted, positive, all float32 tensors."""

    def __init__(self, recipe: Recipe, real: Samples, phantoms: Samples | None) -> None:
        self._recipe, self._real, self._phantoms = recipe, real, phantoms
        self._generator = np.random.default_rng(recipe.seed)
        positive = real.positive[:, recipe.oversampled]
        self._positive, self._other = np.flatnonzero(positive), np.flatnonzero(~positive)

    def epoch(self) -> Iterator[Batch]:
        """Batches of `recipe.samples_per_epoch` slices; each is drawn anew."""
        for _ in range(max(1, self._recipe.samples_per_epoch // self._recipe.batch)):
            yield self._batch()

    def _batch(self) -> Batch:
        phantoms = 0
        if self._phantoms is not None:
            phantoms = int(self._generator.binomial(self._recipe.batch, self._recipe.phantom_share))
        parts = [_take(self._real, self._pick(self._recipe.batch - phantoms))]
        if self._phantoms is not None and phantoms:
            parts.append(_take(self._phantoms, self._generator.integers(len(self._phantoms), size=phantoms)))
        inputs, targets, trusted, positive = (torch.cat(column) for column in zip(*parts, strict=True))
        if self._recipe.made_up_lesions:
            insert_lesions(inputs, targets, trusted, positive, self._recipe.made_up_lesions)
        inputs, targets = augment(self._recipe.augmentation, inputs, targets)
        return inputs.contiguous(memory_format=torch.channels_last), targets, trusted, positive

    def _pick(self, n: int) -> NDArray[np.intp]:
        """Every pool is walked evenly at random; an empty pool is replaced by the other."""
        if not len(self._positive) or not len(self._other):
            return self._generator.integers(len(self._real), size=n)
        wanted = self._generator.random(n) < self._recipe.positive_share
        return np.where(
            wanted, self._generator.choice(self._positive, size=n), self._generator.choice(self._other, size=n)
        )


def _take(samples: Samples, index: NDArray[np.intp]) -> Batch:
    return (
        torch.from_numpy(samples.inputs[index]).float(),
        torch.from_numpy(samples.targets[index]).float() / 255,
        torch.from_numpy(samples.trusted[index]).float(),
        torch.from_numpy(samples.positive[index]).float(),
    )
