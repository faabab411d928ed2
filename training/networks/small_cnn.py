"""System A: the small classifier published with Kaggle's brain-mri-images-for-brain-tumor-detection.

Three convolutions of 16, 32 and 64 channels (3 x 3, ReLU), each with 2 x 2 max pooling, then a dense layer of 512 and
one output, on images of 150 x 150 x 3. It is the pattern of LeCun et al. 1998 (Gradient-based learning applied to
document recognition) with ReLU and max pooling.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Image (n, channels, h, w) of the one size it was made for to class logits (n, classes)."""

    def __init__(
        self,
        channels: int,
        classes: int,
        size: Sequence[int],
        *,
        widths: Sequence[int] = (16, 32, 64),
        dense: int = 512,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((channels, *widths[:-1]), widths, strict=True):
            layers += [nn.Conv2d(before, width, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        height, wide = size
        for _ in widths:  # convolutions without padding, as Keras's default
            height, wide = (height - 2) // 2, (wide - 2) // 2
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(widths[-1] * height * wide, dense), nn.ReLU(inplace=True), nn.Linear(dense, classes)
        )

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.head(self.features(image))
        return logits


class TwoConvolutions(nn.Module):
    """System B's first classifier: two convolutions with pooling, then a dense layer.

    The study says no more than that, so the widths are ours; the mean over the plane replaces a dense layer over 256 x
    256 positions, and any size of image will do.
    """

    def __init__(
        self, channels: int, classes: int, *, widths: Sequence[int] = (32, 64), dense: int = 128, pool: int = 4
    ) -> None:
        super().__init__()
        first, second = widths
        self.features = nn.Sequential(
            nn.Conv2d(channels, first, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(pool),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(pool),
        )
        self.head = nn.Sequential(nn.Linear(second, dense), nn.ReLU(inplace=True), nn.Linear(dense, classes))

    def forward(self, image: Tensor) -> Tensor:
        """Image (n, channels, h, w) to class logits (n, classes)."""
        logits: Tensor = self.head(self.features(image).mean(dim=(2, 3)))
        return logits
