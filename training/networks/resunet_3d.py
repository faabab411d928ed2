"""The residual U-Net of `resunet.py` in three dimensions: it sees a whole brain at once, at 2 mm and coarser.

2 x 2 x 2 voxels are folded into channels before the first convolution and the logits are unfolded at the end, so that
nothing of the 1 mm image is lost, while an eighth of the positions is computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.networks.resunet import ResidualBlock


def fold(x: Tensor) -> Tensor:
    """(n, c, d, h, w) to (n, 8 c, d / 2, h / 2, w / 2)."""
    n, c, d, h, w = x.shape
    x = x.reshape(n, c, d // 2, 2, h // 2, 2, w // 2, 2)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, 8 * c, d // 2, h // 2, w // 2)


def unfold(x: Tensor) -> Tensor:
    """(n, 8 c, d, h, w) to (n, c, 2 d, 2 h, 2 w): undoes `fold`."""
    n, c, d, h, w = x.shape
    x = x.reshape(n, c // 8, 2, 2, 2, d, h, w)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(n, c // 8, 2 * d, 2 * h, 2 * w)


class ResUNet3D(nn.Module):
    """Logits of every class at the resolution of the image."""

    def __init__(self, channels: int, classes: int, *, widths: Sequence[int] = (32, 64, 128, 192)) -> None:
        super().__init__()
        widths_in = [channels * 8, *widths[:-1]]
        self.encoder = nn.ModuleList(
            ResidualBlock(before, width, stride=1 if level == 0 else 2, dimensions=3)
            for level, (before, width) in enumerate(zip(widths_in, widths, strict=True))
        )
        # a 1 x 1 x 1 convolution before the upsampling keeps the dear first convolution of each level narrow
        self.narrow = nn.ModuleList(
            nn.Conv3d(coarse, fine, 1, bias=False) for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.decoder = nn.ModuleList(ResidualBlock(2 * fine, fine, dimensions=3) for fine in widths[-2::-1])
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.last = nn.Conv3d(widths[0], classes * 8, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, d, h, w), each side divisible by 2 ** len(widths), to logits (n, classes, d, h, w)."""
        x, features = fold(image), []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        *skips, x = features
        for narrow, block, skip in zip(self.narrow, self.decoder, reversed(skips), strict=True):
            x = block(torch.cat([self.upsample(narrow(x)), skip], dim=1))
        return unfold(self.last(x))
