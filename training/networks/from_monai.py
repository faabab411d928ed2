"""The networks that MONAI has: called with our arguments, never with pretrained weights (there may be no network)."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import BasicUNet, DynUNet, FlexibleUNet, ResNet, SegResNet, UNet
from torch import nn


def unet(
    channels: int, classes: int, *, widths: Sequence[int] = (32, 64, 128, 256, 512), dimensions: int = 2
) -> nn.Module:
    """U-Net (Ronneberger et al. 2015, arXiv:1505.04597; in 3D Çiçek et al. 2016, arXiv:1606.06650) of five levels.

    System B's first segmenter, and system D's 3D U-Net on four MR sequences.
    """
    features = (*widths, widths[0])
    return BasicUNet(dimensions, channels, classes, features, norm="batch" if dimensions == 2 else "instance")


def residual_unet(channels: int, classes: int, *, widths: Sequence[int] = (32, 64, 128, 256, 512)) -> nn.Module:
    """System B's U-Net with residual blocks (Kerfoot et al. 2018, doi:10.1007/978-3-030-12029-0_40)."""
    return UNet(2, channels, classes, widths, (2,) * (len(widths) - 1), num_res_units=2, act="RELU", norm="batch")


def efficient_unet(channels: int, classes: int, *, size: str = "b0") -> nn.Module:
    """System B's U-Net with an EfficientNet encoder (Tan and Le 2019, arXiv:1905.11946)."""
    return FlexibleUNet(channels, classes, f"efficientnet-{size}", pretrained=False)


def resnet50(
    channels: int,
    classes: int,
    *,
    layers: Sequence[int] = (3, 4, 6, 3),
    planes: Sequence[int] = (64, 128, 256, 512),
) -> nn.Module:
    """System C's classifier, ResNet50 (He et al. 2016, arXiv:1512.03385)."""
    return ResNet(
        "bottleneck",
        list(layers),
        list(planes),
        spatial_dims=2,
        n_input_channels=channels,
        conv1_t_stride=2,
        num_classes=classes,
    )


def dynunet(channels: int, classes: int, *, widths: Sequence[int] = (32, 64, 128, 256, 320)) -> nn.Module:
    """Our modern 2D network: nnU-Net's architecture (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z)."""
    strides = (1, *(2,) * (len(widths) - 1))
    return DynUNet(2, channels, classes, (3,) * len(widths), strides, strides[1:], filters=widths, res_block=True)


def segresnet(channels: int, classes: int, *, width: int = 16, down: Sequence[int] = (1, 2, 2, 4)) -> nn.Module:
    """Our modern 3D network: SegResNet (Myronenko 2018, arXiv:1810.11654; won BraTS 2018), without the autoencoder."""
    blocks_up = (1,) * (len(down) - 1)
    return SegResNet(
        3, init_filters=width, in_channels=channels, out_channels=classes, blocks_down=tuple(down), blocks_up=blocks_up
    )
