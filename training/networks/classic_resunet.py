"""System C's ResUNet: levels of 16, 32, 64, 128 and 256 channels, residual blocks with 1 x 1 shortcuts.

Zhang et al. 2018 (Road Extraction by Deep Residual U-Net, arXiv:1711.10684) in the shape that the two-stage LGG study
gave it: max pooling down, upsampling and concatenation up. `resunet.py` is our own, faster relative of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.networks.resunet import ResidualBlock


class ClassicResUNet(nn.Module):
    """Image (n, channels, h, w), h and w divisible by 2 ** (levels - 1), to mask logits (n, classes, h, w)."""

    def __init__(self, channels: int, classes: int, *, widths: Sequence[int] = (16, 32, 64, 128, 256)) -> None:
        super().__init__()
        self.down = nn.ModuleList(ResidualBlock(b, w) for b, w in zip((channels, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(
            ResidualBlock(coarse + fine, fine) for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.pool, self.upsample = nn.MaxPool2d(2), nn.Upsample(scale_factor=2, mode="nearest")
        self.last = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        x: Tensor = self.down[0](image)
        skips = []
        for block in list(self.down)[1:]:
            skips.append(x)
            x = block(self.pool(x))
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = block(torch.cat([self.upsample(x), skip], dim=1))
        logits: Tensor = self.last(x)
        return logits
