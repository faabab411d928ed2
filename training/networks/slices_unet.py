"""A network of slices that answers for a volume: each slice with its neighbours, an encoder that has seen ImageNet.

Thirty brains teach a network in three dimensions little; thirty brains are four thousand slices, and edges need not be
learnt from them at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.experiment import NEIGHBOURS
from training.networks.efficient_unet import EfficientLiteMask


class SlicesUNet(nn.Module):
    """Logits of every class for every slice of a volume.

    `slices` is what is exported: a whole brain at once is too much for a processor's caches, and takes an engine half
    as long again.

    Args:
        channels: Channels of the volume.
        classes: Number of masks.
        widths: Channels of the decoder, see `EfficientLiteUNet`.
        pretrained: Start from ImageNet's weights.
    """

    def __init__(
        self, channels: int, classes: int, *, widths: Sequence[int] = (32, 64, 96, 128), pretrained: bool = False
    ) -> None:
        super().__init__()
        self.slices = EfficientLiteMask(channels * len(NEIGHBOURS), classes, widths, pretrained=pretrained)

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, d, h, w), h and w divisible by 32, to logits (n, classes, d, h, w)."""
        n, channels, d, h, w = image.shape
        reach = max(NEIGHBOURS)
        ends = [image[:, :, :1]] * reach, [image[:, :, -1:]] * reach
        longer = torch.cat([*ends[0], image, *ends[1]], dim=2)
        stacked = torch.cat([longer[:, :, reach + k : reach + k + d] for k in NEIGHBOURS], dim=1)
        flat = stacked.transpose(1, 2).reshape(-1, channels * len(NEIGHBOURS), h, w)
        logits: Tensor = self.slices(flat.contiguous(memory_format=torch.channels_last))
        return logits.reshape(n, d, -1, h, w).transpose(1, 2)
