"""Augmentation of whole batches on the network grid, after the preprocessing that serving shares."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.experiment import Augmentation


def augment(settings: Augmentation, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Varies inputs (n, channels, h, w) and targets (n, classes, h, w) together."""
    if settings.brain_channels:
        inputs = replace_missing(inputs)
    grid = _grid(settings, len(inputs), inputs.shape[2], inputs.shape[3])
    both = functional.grid_sample(torch.cat([inputs, targets], dim=1), grid, padding_mode="border", align_corners=False)
    return _intensity(settings, both[:, : inputs.shape[1]]), both[:, inputs.shape[1] :]


def _grid(settings: Augmentation, n: int, height: int, width: int) -> Tensor:
    angle = torch.randn(n) * settings.rotation * torch.pi / 180
    scale = torch.exp(torch.randn(n) * settings.scale)
    flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0) if settings.mirror else torch.ones(n)
    aspect = height / width
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    shift = torch.randn(2, n) * settings.shift
    rows = [cos * flip, -sin * aspect, shift[0], sin * flip / aspect, cos, shift[1]]
    grid = functional.affine_grid(torch.stack(rows, 1).reshape(n, 2, 3), [n, 1, height, width], align_corners=False)
    coarse = torch.randn(n, 2, 5, 5) * settings.bend
    smooth = functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    return grid + smooth.permute(0, 2, 3, 1)


def _intensity(settings: Augmentation, inputs: Tensor) -> Tensor:
    n, channels = inputs.shape[:2]
    # the neighbours are the same sequence as the slice, so all FLAIR channels share one draw
    which = torch.tensor([0, 1, 2, 1, 1]) if settings.brain_channels else torch.arange(channels)
    gain = torch.exp(torch.randn(n, channels, 1, 1) * settings.gain)[:, which]
    offset = (torch.randn(n, channels, 1, 1) * settings.gain * 2 * inputs.std())[:, which]
    varied = inputs * gain + offset
    varied = varied + torch.randn_like(inputs) * (torch.rand(n, 1, 1, 1) * settings.noise) * inputs.std()
    blurred = functional.avg_pool2d(varied, 3, stride=1, padding=1, count_include_pad=False)
    return torch.where(torch.rand(n, 1, 1, 1) < settings.blur, blurred, varied)


def replace_missing(inputs: Tensor) -> Tensor:
    """Acts as if T1, T1 with contrast or the neighbours were missing in some samples, as they are in the clinic."""
    inputs = inputs.clone()
    n = len(inputs)
    draws = torch.rand(4, n)
    for channel, missing in (
        (0, (draws[0] < 0.15) | (draws[3] < 0.1)),  # no T1, or only a FLAIR
        (2, (draws[1] < 0.1) | (draws[3] < 0.1)),
        (3, draws[2] < 0.1),
        (4, (draws[2] > 0.05) & (draws[2] < 0.15)),
    ):
        inputs[missing, channel] = inputs[missing, 1]
    turned = torch.rand(n) < 0.5  # the stack may run either way
    inputs[turned] = inputs[turned][:, [0, 1, 2, 4, 3]]
    return inputs
