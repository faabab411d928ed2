"""A U-Net over EfficientNet-lite0: an encoder that has seen ImageNet, a decoder of plain 3 x 3 convolutions.

The decoder works at half the resolution and unfolds 2 x 2 at the end, as `resunet.py` does and for its reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.networks.efficient_lite import WIDTHS, EfficientLite, start_from_imagenet
from training.networks.resunet import ResidualBlock, SliceHead


class EfficientLiteUNet(nn.Module):
    """Pixel logits and slice logits, as `ResUNet` gives them; h and w divisible by 32.

    Args:
        channels: Channels of the image.
        classes: Number of masks.
        widths: Channels of the decoder, finest first: at 1/2, 1/4, 1/8, 1/16.
        pretrained: Start from ImageNet's weights.
    """

    def __init__(
        self, channels: int, classes: int, widths: Sequence[int] = (32, 64, 96, 128), *, pretrained: bool = False
    ) -> None:
        super().__init__()
        self.encoder = EfficientLite(channels)
        self.slice_head = SliceHead(WIDTHS[-1], classes)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        coarse = (*widths[1:], WIDTHS[-1])
        blocks = zip(coarse, WIDTHS[:-1], widths, strict=True)
        self.decoder = nn.ModuleList(ResidualBlock(c + skip, width) for c, skip, width in reversed(list(blocks)))
        self.last = nn.Conv2d(widths[0], classes * 4, 1)
        self.unfold = nn.PixelShuffle(2)
        if pretrained:
            start_from_imagenet(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, channels, h, w) to pixel logits (n, classes, h, w) and slice logits (n, classes)."""
        *skips, x = self.encoder(image)
        slices = self.slice_head(x)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            x = block(torch.cat([self.upsample(x), skip], dim=1))
        return self.unfold(self.last(x)), slices


class EfficientLiteMask(EfficientLiteUNet):
    """The same network for who wants pixel logits only; nothing trains its slice head."""

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) to pixel logits (n, classes, h, w)."""
        return super().forward(image)[0]
