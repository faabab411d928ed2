"""Which slices a batch is made of: positives oversampled, phantoms and another data set mixed in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from training.data.augment import augment
from training.data.case import Samples
from training.data.lesions import insert_lesions
from training.experiment import Experiment

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class Pool:
    """Slices to draw from; those that show the class `oversampled` make up `positive_share` of what is drawn."""

    def __init__(self, experiment: Experiment, samples: Samples) -> None:
        self.samples, self._share = samples, experiment.positive_share or 0.5
        positive = samples.positive[:, experiment.oversampled]
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
        experiment: Says how batches are made up.
        real: The data set.
        phantoms: Mixed in by `experiment.phantom_share`.
        more: Mixed in by `experiment.more_share`.
    """

    def __init__(
        self, experiment: Experiment, real: Samples, phantoms: Samples | None = None, more: Samples | None = None
    ) -> None:
        self._experiment, self._real, self._phantoms = experiment, Pool(experiment, real), phantoms
        self._more = None if more is None else Pool(experiment, more)

    @property
    def batches(self) -> int:
        """In an epoch of `experiment.per_epoch` slices."""
        return max(1, (self._experiment.per_epoch or len(self._real.samples)) // self._experiment.batch)

    def batch(self, generator: np.random.Generator) -> Batch:
        """Slices drawn by `generator`, varied by torch's."""
        phantoms, more = self._counts(generator)
        parts = [self._real.draw(self._experiment.batch - phantoms - more, generator)]
        if self._phantoms is not None and phantoms:
            parts.append(_take(self._phantoms, generator.integers(len(self._phantoms), size=phantoms)))
        if self._more is not None and more:
            parts.append(self._more.draw(more, generator))
        inputs, targets, trusted, positive = (torch.cat(column) for column in zip(*parts, strict=True))
        if self._experiment.made_up_lesions:
            insert_lesions(inputs, targets, trusted, positive, self._experiment.made_up_lesions)
        return (*augment(self._experiment.augmentation, inputs, targets), trusted, positive)

    def _counts(self, generator: np.random.Generator) -> tuple[int, int]:
        """How many phantoms and how many slices of the other data set come into a batch; at least one is real."""
        shares = [
            0.0 if self._phantoms is None else self._experiment.phantom_share,
            0.0 if self._more is None else self._experiment.more_share,
        ]
        phantoms, more, _ = generator.multinomial(self._experiment.batch - 1, [*shares, 1 - sum(shares)]).tolist()
        return phantoms, more


def _take(samples: Samples, index: NDArray[np.intp]) -> Batch:
    return (
        torch.from_numpy(samples.inputs[index]).float(),
        torch.from_numpy(samples.targets[index]).float() / 255,
        torch.from_numpy(samples.trusted[index]).float(),
        torch.from_numpy(samples.positive[index]).float(),
    )


class Draws(IterableDataset[Batch]):
    """An epoch's batches, drawn anew each time; processes that train or read side by side share it."""

    def __init__(self, draw: Draw, processes: int = 1) -> None:
        self._draw, self._length = draw, max(1, draw.batches // processes)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        reader = get_worker_info()
        first, step = (0, 1) if reader is None else (reader.id, reader.num_workers)
        # torch's seed differs from one process to the next, be it one that trains or one that reads
        generator = np.random.default_rng(int(torch.randint(2**63 - 1, ())))
        for _ in range(first, self._length, step):
            yield self._draw.batch(generator)
