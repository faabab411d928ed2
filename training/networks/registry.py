"""Every network under a name. All answer logits, and export to ONNX with a free batch dimension."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from training.experiment import Experiment
from training.networks import from_monai
from training.networks.classic_resunet import ClassicResUNet
from training.networks.double_unet import DoubleUNet
from training.networks.efficient_lite import EfficientLiteClassifier
from training.networks.efficient_unet import EfficientLiteMask, EfficientLiteUNet
from training.networks.mu_net import MUNet
from training.networks.resunet import ResUNet, SliceClassifier
from training.networks.resunet_3d import ResUNet3D
from training.networks.slices_unet import SlicesUNet
from training.networks.small_cnn import SmallCNN, TwoConvolutions
from training.networks.xception import Xception

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "resunet": ResUNet,
    "slice-classifier": SliceClassifier,
    "lite-unet": EfficientLiteUNet,
    "small-cnn": SmallCNN,
    "two-convolutions": TwoConvolutions,
    "xception": Xception,
    "unet": from_monai.unet,
    "residual-unet": from_monai.residual_unet,
    "efficient-lite": EfficientLiteClassifier,
    "efficient-unet": from_monai.efficient_unet,
    "efficient-lite-unet": EfficientLiteMask,
    "double-unet": DoubleUNet,
    "resnet50": from_monai.resnet50,
    "classic-resunet": ClassicResUNet,
    "unet-3d": partial(from_monai.unet, dimensions=3),
    "mu-net": MUNet,
    "dynunet": from_monai.dynunet,
    "resunet-3d": ResUNet3D,
    "slices-unet": SlicesUNet,
    "segresnet": from_monai.segresnet,
}


def make_network(
    name: str, channels: int, classes: int, size: Sequence[int], options: Mapping[str, Any] | None = None
) -> nn.Module:
    """The network `name`, untrained.

    Args:
        name: Key of `NETWORKS`.
        channels: Input channels.
        classes: Outputs.
        size: (height, width) or (depth, height, width) of the input, for networks that depend on it.
        options: Further arguments of the network, such as `widths`.

    Raises:
        ValueError: There is no such network.
    """
    if name not in NETWORKS:
        raise ValueError(f"expected one of {sorted(NETWORKS)}, received {name!r}")
    fixed = {"size": tuple(size)} if name == "small-cnn" else {}
    return NETWORKS[name](channels, classes, **fixed, **(options or {}))


def build(experiment: Experiment) -> nn.Module:
    """The experiment's network, untrained, laid out as a processor likes it."""
    return with_channels_last(
        make_network(
            experiment.network,
            len(experiment.channels),
            len(experiment.classes),
            experiment.size,
            experiment.options,
        )
    )


def served(network: nn.Module) -> nn.Module:
    """The part of a network that a package holds: all of it, or what answers for one slice of a volume."""
    return network.slices if isinstance(network, SlicesUNet) else network


def with_channels_last(network: nn.Module) -> nn.Module:
    """`network`, its convolutions laid out as a processor likes them; there may be some of 2D and some of 3D."""
    for module in network.modules():
        for weight in module.parameters(recurse=False):
            if weight.ndim in (4, 5):
                weight.data = weight.data.contiguous(
                    memory_format=torch.channels_last if weight.ndim == 4 else torch.channels_last_3d
                )
    return network
