"""From items to batches: patches drawn, grey values mapped, images varied with MONAI's transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai import transforms
from monai.data import DataLoader, set_track_meta
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, WeightedRandomSampler

from training.data.brain_patches import brain_batches
from training.data.inputs import INPUTS
from training.data.items import Item, Pair
from training.data.patches import draw_patch
from training.experiment import Experiment

MEMORY = 2 * 2**30
"""Bytes of decoded pictures that a process keeps, of the training part and of the validation part each."""


class Examples(Dataset[tuple[Tensor, Tensor]]):
    """Input (channels, ...) and truth, (classes, ...) or (classes,), of each item, float32.

    Where an item is larger than the system's input (a scan), each look at it draws another patch in training; in
    validation it is always the same one.
    """

    def __init__(self, experiment: Experiment, items: Sequence[Item], *, training: bool) -> None:
        self._experiment, self._items, self._training = experiment, items, training
        set_track_meta(False)  # tensors that carry affines cost more than our transforms
        self._vary = variation(experiment) if training else None
        self._kept: dict[int, Pair] = {}
        self._room = MEMORY

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, truth = self._read(index)
        sample = {
            "image": torch.from_numpy(INPUTS[self._experiment.inputs](image)),
            "truth": torch.from_numpy(np.ascontiguousarray(target(self._experiment, truth))),
        }
        if self._vary is not None:
            sample = self._vary(sample)
        return sample["image"].contiguous(), sample["truth"].float()

    def _read(self, index: int) -> Pair:
        if len(self._experiment.size) < 3:
            return self._picture(index)
        image, truth = self._items[index].read()
        # torch's seed differs from one reading process to the next, a generator of our own would not
        seed = int(torch.randint(2**31, ())) if self._training else index
        generator = np.random.default_rng(seed)
        return draw_patch(image, truth, self._experiment.size, self._experiment.least_tumour, generator)

    def _picture(self, index: int) -> Pair:
        """Decoded once, and then kept while there is room: decoding takes as long as varying it."""
        if index in self._kept:
            return self._kept[index]
        pair = self._items[index].read()
        size = pair[0].nbytes + pair[1].nbytes
        if size <= self._room:
            self._room -= size
            self._kept[index] = pair
        return pair


def target(experiment: Experiment, truth: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The mask, or for a classification whether there is any: (classes,)."""
    if experiment.task == "classification" and truth.ndim > 1:
        return np.asarray(truth.any(axis=tuple(range(1, truth.ndim))), np.float32)
    return truth.astype(np.float32)


def variation(experiment: Experiment) -> transforms.Compose:
    """The system's augmentation; a mask moves with its image, nearest neighbour."""
    varied, masks = experiment.variation, experiment.task == "segmentation"
    keys, modes = (["image", "truth"], ["bilinear", "nearest"]) if masks else (["image"], ["bilinear"])
    steps: list[Any] = [transforms.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in varied.mirror]
    if len(experiment.size) == 2 and (varied.rotation or varied.scale or varied.shift):
        steps.append(
            transforms.RandAffined(
                keys,
                prob=1.0,
                rotate_range=np.radians(varied.rotation),
                scale_range=(varied.scale, varied.scale),
                translate_range=[varied.shift * length for length in experiment.size],
                mode=modes,
                padding_mode="border",
            )
        )
    if varied.elastic:
        spacing = tuple(max(4, length // 8) for length in experiment.size)
        steps.append(
            transforms.Rand2DElasticd(keys, spacing, (1, 3), prob=varied.elastic, mode=modes, padding_mode="border")
        )
    if varied.blur:
        steps.append(transforms.RandGaussianSmoothd(["image"], (0.3, 1.2), (0.3, 1.2), prob=varied.blur))
    composed = transforms.Compose(steps)
    composed.set_random_state(experiment.seed)
    return composed


def batches(
    experiment: Experiment, items: Sequence[Item], *, training: bool, workers: int = 0, processes: int = 1
) -> DataLoader:
    """Batches of examples; in training drawn at random, those with tumour as often as `positive_share` asks.

    Of several `processes` that train together each draws its share of an epoch by itself (torch's own generator).
    """
    if experiment.data == "brains":
        return brain_batches(experiment, items, training=training, workers=workers, processes=processes)
    examples = Examples(experiment, items, training=training)
    sampler = None
    if training:
        count = max(1, (experiment.per_epoch or len(items)) // processes)
        sampler = WeightedRandomSampler(weights(experiment, items), count)
    size = min(experiment.batch, max(1, len(items)))
    return DataLoader(
        examples, batch_size=size, sampler=sampler, num_workers=workers, drop_last=training and len(items) >= size
    )


def weights(experiment: Experiment, items: Sequence[Item]) -> list[float]:
    """How often each item is drawn, in proportion."""
    positive = np.array([item.positive for item in items])
    if experiment.positive_share is None or positive.all() or not positive.any():
        return [1.0] * len(items)
    shares = np.where(
        positive, experiment.positive_share / positive.sum(), (1 - experiment.positive_share) / (~positive).sum()
    )
    return [float(share) for share in shares]
