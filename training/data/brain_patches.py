"""Patches of whole brains for training, varied in three dimensions; whole brains for validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from pipelines.brain.volume import CHANNELS, SHAPE
from training.data.items import Item
from training.experiment import Experiment, Plane, Variation
from training.experiments import REGIONS

PLANES: dict[Plane, tuple[int, int, int]] = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 1, 0)}
"""Which axes of (slices, rows, columns) are a patch's slices, rows and columns, by plane."""

ON_TUMOUR = 0.7
"""Share of the patches whose middle lies in the tumour, or near it; the others lie anywhere in the brain."""


class Brains(Dataset[tuple[Tensor, Tensor]]):
    """Whole prepared brains (4, slices, rows, columns) and their regions, float32."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, truth = self._items[index].read()
        return torch.from_numpy(np.array(image)), torch.from_numpy(np.array(truth, np.float32))


class BrainPatches(Dataset[tuple[Tensor, Tensor]]):
    """`experiment.per_epoch` patches of `experiment.size` an epoch, each drawn anew; `processes` share them.

    Raises:
        ValueError: The system names no plane, or a patch is larger than a brain in one of them.
    """

    def __init__(self, experiment: Experiment, items: Sequence[Item], processes: int = 1) -> None:
        sizes = {plane: tuple(SHAPE[axis] for axis in PLANES[plane]) for plane in experiment.planes}
        small = [plane for plane, shape in sizes.items() if any(np.greater(experiment.size, shape))]
        if small or not sizes:
            raise ValueError(
                f"{experiment.name}: patches of {experiment.size} do not fit in brains of {sizes or 'no plane'}"
            )
        self._experiment, self._items = experiment, items
        self._length = max(1, (experiment.per_epoch or len(items)) // processes)
        self._tumour: dict[int, NDArray[np.intp]] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        which = int(torch.randint(len(self._items), ()))
        image, truth = self._items[which].read()
        planes = self._experiment.planes
        order = PLANES[planes[int(torch.randint(len(planes), ()))]]
        middle = self._middle(which, image, truth, order)
        axes = (0, *(1 + axis for axis in order))
        return cut(
            self._experiment.variation, self._experiment.size, image.transpose(axes), truth.transpose(axes), middle
        )

    def _middle(
        self, which: int, image: NDArray[np.float32], truth: NDArray[np.uint8], order: tuple[int, ...]
    ) -> Tensor:
        if which not in self._tumour:  # the classes are nested regions: each is as likely as the others to be the aim
            some = [np.flatnonzero(mask)[:: 1 + int(mask.sum()) // 2000] for mask in truth]
            self._tumour[which] = np.concatenate(some)
        places, shape = self._tumour[which], image.shape[1:]
        if places.size and float(torch.rand(())) < ON_TUMOUR:
            voxel = np.unravel_index(places[int(torch.randint(places.size, ()))], shape)
            middle = torch.tensor([float(axis) for axis in voxel])
        else:
            middle = torch.rand(3) * (torch.tensor(shape) - 1)
        middle, shape = middle[list(order)], tuple(shape[axis] for axis in order)
        jitter = (torch.rand(3) - 0.5) * torch.tensor(self._experiment.size) / 2
        half = torch.tensor(self._experiment.size) / 2
        return torch.minimum(torch.maximum(middle + jitter, half - 0.5), torch.tensor(shape) - half - 0.5)


TURNED, NOISY = 0.5, 0.3
"""Shares of the patches that are turned and scaled, and that get noise: both cost as much as the network's step."""


def cut(
    varied: Variation, size: tuple[int, ...], image: NDArray[np.float32], truth: NDArray[np.uint8], middle: Tensor
) -> tuple[Tensor, Tensor]:
    """A patch about `middle` (slice, row, column), turned, scaled, mirrored and bent in grey value.

    Args:
        varied: How far.
        size: (slices, rows, columns) of the patch.
        image: (4, slices, rows, columns), standardised, 0 outside the brain.
        truth: (classes, slices, rows, columns).
        middle: Where the middle of the patch lies, in voxels.
    """
    if float(torch.rand(())) >= TURNED:
        return grey(varied, *_straight(varied, size, image, truth, middle))
    low, high = _around(size, image.shape[1:], middle)
    box = (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
    classes = len(truth)
    both = torch.from_numpy(np.concatenate([image[box], truth[box].astype(np.float32)]))[None]
    grid = _grid(varied, size, both.shape[2:], middle - torch.tensor(low))
    both = functional.grid_sample(both, grid, align_corners=False)[0]
    return grey(varied, both[:-classes], (both[-classes:] >= 0.5).float())


def _straight(
    varied: Variation, size: tuple[int, ...], image: NDArray[np.float32], truth: NDArray[np.uint8], middle: Tensor
) -> tuple[Tensor, Tensor]:
    """Cut out and mirrored, nothing interpolated."""
    low = [int(m + 0.5 - length / 2) for m, length in zip(middle.tolist(), size, strict=True)]
    box = (slice(None), *(slice(a, a + n) for a, n in zip(low, size, strict=True)))
    flips = [1 + axis for axis in varied.mirror if float(torch.rand(())) < 0.5]
    patch, masks = torch.from_numpy(np.array(image[box])), torch.from_numpy(truth[box].astype(np.float32))
    return (patch.flip(flips), masks.flip(flips)) if flips else (patch, masks)


def _around(size: tuple[int, ...], shape: tuple[int, ...], middle: Tensor) -> tuple[list[int], list[int]]:
    """A box that holds the patch however it is turned: grid_sample is slow on what is not in the cache."""
    reach = [max(0.75 * length + 4, 0.6 * length + 0.2 * max(size)) for length in size]  # a thin one tilts far
    centre = middle.tolist()
    low = [max(0, int(c - r)) for c, r in zip(centre, reach, strict=True)]
    return low, [min(n, int(c + r) + 1) for n, c, r in zip(shape, centre, reach, strict=True)]


def _grid(varied: Variation, size: tuple[int, ...], source: torch.Size, middle: Tensor) -> Tensor:
    """Where in `source` each voxel of the patch is read, in grid_sample's units: (1, slices, rows, columns, 3)."""
    axes = [torch.arange(n) - (n - 1) / 2 for n in size]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    angles = (torch.rand(3) * 2 - 1) * varied.rotation * torch.pi / 180 * torch.tensor([1.0, 0.5, 0.5])
    scale = 1 + (torch.rand(()) * 2 - 1) * varied.scale
    flips = torch.ones(3)
    for axis in varied.mirror:
        flips[axis] = -1.0 if float(torch.rand(())) < 0.5 else 1.0
    where = offsets * flips @ (_rotation(angles) * scale).T + middle
    lengths = torch.tensor(source)
    return (((2 * where + 1) / lengths) - 1).flip(-1)[None]


def _rotation(angles: Tensor) -> Tensor:
    """About the slice, the row and the column axis, one after the other; radians."""
    turned = torch.eye(3)
    for axis, angle in enumerate(angles):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        step = torch.eye(3)
        step[one, one] = step[other, other] = torch.cos(angle)
        step[one, other], step[other, one] = -torch.sin(angle), torch.sin(angle)
        turned = step @ turned
    return turned


def grey(varied: Variation, patch: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Contrast, brightness, noise and thick slices, each sequence by itself; outside the brain it stays 0."""
    brain = (patch != 0).any(dim=0, keepdim=True)
    if float(torch.rand(())) < varied.unenhanced:
        patch, masks = _unenhanced(patch, masks)
    channels = len(patch)
    gain = torch.exp(torch.randn(channels, 1, 1, 1) * varied.gain)
    offset = torch.randn(channels, 1, 1, 1) * varied.gain
    patch = patch * gain + offset
    for channel in range(channels):
        if float(torch.rand(())) < varied.thick:
            patch[channel] = _thick(patch[channel])
    if float(torch.rand(())) < NOISY:
        patch = patch + torch.randn_like(patch) * float(torch.rand(())) * varied.noise
    return patch * brain, masks


def _unenhanced(patch: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Without uptake there is no enhancing tumour, however bright the FLAIR is; what enhanced stays tumour core.

    Nearly all tumours of BraTS enhance, so that a network may learn to find enhancement where there is any tumour.
    """
    patch, masks = patch.clone(), masks.clone()
    patch[CHANNELS.index("t1ce")] = patch[CHANNELS.index("t1")]
    masks[REGIONS.index("enhancing")] = 0
    return patch, masks


def _thick(image: Tensor) -> Tensor:
    """As if it had been scanned in slices of 2 to 6 mm, along any axis, and been interpolated."""
    axis, thickness = int(torch.randint(3, ())), int(torch.randint(2, 7, ()))
    size = list(image.shape)
    coarse = [*size]
    coarse[axis] = max(2, size[axis] // thickness)
    thick = functional.interpolate(image[None, None], coarse, mode="area")
    return functional.interpolate(thick, size, mode="trilinear", align_corners=False)[0, 0]


def brain_batches(
    experiment: Experiment, items: Sequence[Item], *, training: bool, workers: int = 0, processes: int = 1
) -> DataLoader:
    """Batches of patches in training; one whole brain at a time otherwise."""
    if training:
        patches = BrainPatches(experiment, items, processes)
        return DataLoader(patches, batch_size=experiment.batch, num_workers=workers, drop_last=True)
    return DataLoader(Brains(items), batch_size=1, num_workers=workers)
