"""System B's second classifier: Xception (Chollet 2017, arXiv:1610.02357), without pretrained weights.

Depthwise separable convolutions with residual connections: an entry flow that halves the resolution five times, a
middle flow of eight equal blocks, an exit flow, the mean over the plane and one linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


def separable(width_in: int, width: int) -> nn.Sequential:
    """3 x 3 convolution of each channel by itself, 1 x 1 convolution across channels, batch norm."""
    return nn.Sequential(
        nn.Conv2d(width_in, width_in, 3, padding=1, groups=width_in, bias=False),
        nn.Conv2d(width_in, width, 1, bias=False),
        nn.BatchNorm2d(width),
    )


class XceptionBlock(nn.Module):
    """Separable convolutions, each after a ReLU, beside a shortcut; `shrink` halves the plane with max pooling."""

    def __init__(self, width_in: int, widths: Sequence[int], *, shrink: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((width_in, *widths[:-1]), widths, strict=True):
            layers += [nn.ReLU(), separable(before, width)]
        if shrink:
            layers.append(nn.MaxPool2d(3, 2, 1))
        self.body = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if shrink:
            shortcut = nn.Conv2d(width_in, widths[-1], 1, 2, bias=False)
            self.shortcut = nn.Sequential(shortcut, nn.BatchNorm2d(widths[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """(n, width_in, h, w) to (n, widths[-1], h, w), or half of h and w."""
        y: Tensor = self.body(x) + self.shortcut(x)
        return y


class Xception(nn.Module):
    """Image (n, channels, h, w) to class logits (n, classes).

    Args:
        channels: Channels of the image.
        classes: Number of outputs.
        width: Channels of the middle flow (728 in the paper); all others are in proportion.
        middle: Blocks of the middle flow.
    """

    def __init__(self, channels: int, classes: int, *, width: int = 728, middle: int = 8) -> None:
        super().__init__()
        stem, one, two, wide, wider, widest = (
            max(8, round(share * width / 728)) for share in (32, 128, 256, 1024, 1536, 2048)
        )
        self.stem = nn.Sequential(
            nn.Conv2d(channels, stem, 3, 2, 1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
            nn.Conv2d(stem, 2 * stem, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * stem),
        )
        self.flows = nn.Sequential(
            XceptionBlock(2 * stem, (one, one), shrink=True),
            XceptionBlock(one, (two, two), shrink=True),
            XceptionBlock(two, (width, width), shrink=True),
            *(XceptionBlock(width, (width,) * 3, shrink=False) for _ in range(middle)),
            XceptionBlock(width, (width, wide), shrink=True),
        )
        self.exit = nn.Sequential(
            separable(wide, wider), nn.ReLU(inplace=True), separable(wider, widest), nn.ReLU(inplace=True)
        )
        self.linear = nn.Sequential(nn.Dropout(0.5), nn.Linear(widest, classes))

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        features: Tensor = self.exit(self.flows(self.stem(image)))
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits
