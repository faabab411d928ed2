"""A residual U-Net that spends its arithmetic where a CPU is fast: at half resolution and below.

The image is folded 2 x 2 into channels before the first convolution and the logits are unfolded at the end
(space to depth), because 3 x 3 convolutions over few channels at full resolution are bound by memory, not arithmetic.
Blocks are those of Zhang et al. 2018 (Road Extraction by Deep Residual U-Net) with a 1 x 1 shortcut.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two convolutions 3 wide with batch norm, and a shortcut (1 wide, where the width changes); in 2D or 3D."""

    def __init__(self, width_in: int, width: int, *, stride: int = 1, dimensions: int = 2) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        norm = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
        self.body = nn.Sequential(
            convolution(width_in, width, 3, stride, 1, bias=False),
            norm(width),
            nn.ReLU(inplace=True),
            convolution(width, width, 3, 1, 1, bias=False),
            norm(width),
        )
        same = width_in == width and stride == 1
        self.shortcut = nn.Identity() if same else convolution(width_in, width, 1, stride, bias=False)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width_in, ...) to (n, width, ...), every side divided by the stride."""
        return self.activation(self.body(x) + self.shortcut(x))


class Encoder(nn.Module):
    """Folded image to feature maps at 1/2, 1/4, 1/8, ... of the resolution, one per entry of `widths`."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.fold = nn.PixelUnshuffle(2)
        widths_in = [channels * 4, *widths[:-1]]
        self.stages = nn.ModuleList(
            ResidualBlock(before, width, stride=1 if level == 0 else 2)
            for level, (before, width) in enumerate(zip(widths_in, widths, strict=True))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """(n, channels, h, w) to the feature maps, finest first."""
        x, features = self.fold(image), []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class SliceHead(nn.Module):
    """One logit per slice and class from the coarsest features: mean and maximum over the plane, dropout, linear."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * width, classes))

    def forward(self, features: Tensor) -> Tensor:
        """(n, width, h, w) to (n, classes)."""
        return self.linear(torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1))


class ResUNet(nn.Module):
    """Segmentation logits and, in training, slice logits from the same encoder (a second, cheap source of gradient)."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        self.encoder = Encoder(channels, widths)
        self.slice_head = SliceHead(widths[-1], classes)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.decoder = nn.ModuleList(
            ResidualBlock(coarse + fine, fine) for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.last = nn.Conv2d(widths[0], classes * 4, 1)
        self.unfold = nn.PixelShuffle(2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, channels, h, w), h and w divisible by 2 ** len(widths), to pixel logits and slice logits (n, classes)."""
        *skips, x = self.encoder(image)
        slices = self.slice_head(x)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            x = block(torch.cat([self.upsample(x), skip], dim=1))
        return self.unfold(self.last(x)), slices


class SliceClassifier(nn.Module):
    """The encoder and the slice head alone; takes the weights of a trained ResUNet as they are."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        self.encoder = Encoder(channels, widths)
        self.slice_head = SliceHead(widths[-1], classes)

    def forward(self, image: Tensor) -> tuple[None, Tensor]:
        """(n, channels, h, w) to (None, slice logits (n, classes)): the same shape of answer as the ResUNet's."""
        return None, self.slice_head(self.encoder(image)[-1])
