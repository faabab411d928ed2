"""System B's DoubleU-Net (Jha et al. 2020, arXiv:2006.04868).

Two U-Nets one after the other. The first one's encoder has the layers of VGG19 (Simonyan and Zisserman 2015), here
without pretrained weights; its mask is multiplied with the image, which the second one then sees. The second decoder
gets the skips of both encoders. Both end in atrous spatial pyramid pooling, and every block in squeeze and excitation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import ChannelSELayer, SimpleASPP
from torch import Tensor, nn


def convolutions(width_in: int, width: int, count: int) -> list[nn.Module]:
    """`count` times a 3 x 3 convolution with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for before in (width_in, *(width,) * (count - 1)):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return layers


def block(width_in: int, width: int) -> nn.Sequential:
    """Two convolutions, then squeeze and excitation."""
    return nn.Sequential(*convolutions(width_in, width, 2), ChannelSELayer(2, width, r=8))


def pyramid(width_in: int, width: int) -> nn.Sequential:
    """Atrous spatial pyramid pooling (Chen et al. 2017) to `width` channels."""
    aspp = SimpleASPP(2, width_in, width // 4, kernel_sizes=(1, 3, 3, 3), dilations=(1, 6, 12, 18), acti_type="RELU")
    return nn.Sequential(aspp, nn.Conv2d(width // 4 * 4, width, 1))


class Decoder(nn.Module):
    """Upsampling, concatenation with the skips of a level (any number of them), block; finest level last."""

    def __init__(self, width_in: int, widths: Sequence[int], skips: Sequence[int]) -> None:
        super().__init__()
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        before = (width_in, *widths[:-1])
        self.blocks = nn.ModuleList(block(b + s, w) for b, s, w in zip(before, skips, widths, strict=True))

    def forward(self, x: Tensor, *skips: list[Tensor]) -> Tensor:
        """`skips`: for each encoder its feature maps, finest first."""
        for module, *level in zip(self.blocks, *(reversed(maps) for maps in skips), strict=True):
            x = module(torch.cat([self.upsample(x), *level], dim=1))
        return x


class DoubleUNet(nn.Module):
    """Image (n, channels, h, w), h and w divisible by 16, to mask logits (n, classes, h, w).

    In training mode it answers (logits of the second network, logits of the first one), and both are to be trained.

    Args:
        channels: Channels of the image.
        classes: Number of masks; with more than one the image is multiplied with the largest of them.
        widths: Channels of the levels of the second network, and of both decoders in reverse.
        vgg: Channels of VGG19's five stages.
    """

    VGG19 = (2, 2, 4, 4, 4)

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        widths: Sequence[int] = (32, 64, 128, 256),
        vgg: Sequence[int] = (64, 128, 256, 512, 512),
    ) -> None:
        super().__init__()
        first = zip((channels, *vgg[:-1]), vgg, self.VGG19, strict=True)
        self.encoder1 = nn.ModuleList(nn.Sequential(*convolutions(b, w, n)) for b, w, n in first)
        self.encoder2 = nn.ModuleList(block(b, w) for b, w in zip((channels, *widths[:-1]), widths, strict=True))
        self.pool = nn.MaxPool2d(2)
        self.pyramid1, self.pyramid2 = pyramid(vgg[-1], widths[-1]), pyramid(widths[-1], widths[-1])
        down = tuple(reversed(widths))
        vgg_skips = tuple(reversed(vgg[:-1]))
        self.decoder1 = Decoder(widths[-1], down, vgg_skips)
        self.decoder2 = Decoder(widths[-1], down, [a + b for a, b in zip(vgg_skips, down, strict=True)])
        self.last1, self.last2 = nn.Conv2d(widths[0], classes, 1), nn.Conv2d(widths[0], classes, 1)

    @property
    def answers(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        """The layers that make the logits of the first and of the second network."""
        return self.last1, self.last2

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """See the class."""
        skips1: list[Tensor] = []
        x = image
        for stage in self.encoder1:
            x = stage(self.pool(x) if skips1 else x)
            skips1.append(x)
        first: Tensor = self.last1(self.decoder1(self.pyramid1(skips1.pop()), skips1))
        x, skips2 = image * torch.sigmoid(first).amax(dim=1, keepdim=True), []
        for stage in self.encoder2:
            x = stage(x)
            skips2.append(x)
            x = self.pool(x)
        second: Tensor = self.last2(self.decoder2(self.pyramid2(x), skips1, skips2))
        return (second, first) if self.training else second
