"""System E: mU-Net (Seo et al. 2020, IEEE Trans Med Imaging 39(5):1316-1325, arXiv:1911.00140).

A U-Net whose skip connections have a residual path: what a level's features still hold at half the resolution is
brought back by a deconvolution and an activation, and taken away from the skip, so that it carries edges and small
objects and does not repeat what comes from below. Further convolutions on the skip then extract high-level features;
finer levels, which are poorer in them, get more. The paper's figures leave the sign of the residual path and the number
of those convolutions to the reader: we subtract, and take one convolution at the coarsest skip and one more at each
finer one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.networks.double_unet import convolutions


class ResidualSkip(nn.Module):
    """A level's features (n, fine, h, w) and the pooled ones that the next level starts from, to the skip's."""

    def __init__(self, fine: int, count: int) -> None:
        super().__init__()
        self.repeated = nn.Sequential(nn.ConvTranspose2d(fine, fine, 2, 2), nn.ReLU(inplace=True))
        self.high_level = nn.Sequential(*convolutions(fine, fine, count))

    def forward(self, features: Tensor, pooled: Tensor) -> Tensor:
        """See the class."""
        skip: Tensor = self.high_level(features - self.repeated(pooled))
        return skip


class MUNet(nn.Module):
    """CT slices (n, channels, h, w), h and w divisible by 2 ** (levels - 1), to class logits (n, classes, h, w)."""

    def __init__(self, channels: int, classes: int, *, widths: Sequence[int] = (32, 64, 128, 256, 512)) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(*convolutions(b, w, 2)) for b, w in zip((channels, *widths[:-1]), widths, strict=True)
        )
        levels = len(widths) - 1
        self.skips = nn.ModuleList(ResidualSkip(width, levels - level) for level, width in enumerate(widths[:-1]))
        self.raise_ = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, 2) for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.up = nn.ModuleList(nn.Sequential(*convolutions(2 * fine, fine, 2)) for fine in widths[-2::-1])
        self.pool, self.last = nn.MaxPool2d(2), nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        x: Tensor = self.down[0](image)
        skips = []
        for block, skip in zip(list(self.down)[1:], self.skips, strict=True):
            pooled = self.pool(x)
            skips.append(skip(x, pooled))
            x = block(pooled)
        for raised, block, skip in zip(self.raise_, self.up, reversed(skips), strict=True):
            x = block(torch.cat([raised(x), skip], dim=1))
        logits: Tensor = self.last(x)
        return logits
