"""The first bias of the last layer: an untrained network says that rare things are rare."""

from __future__ import annotations

from math import log

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd


def expect(network: nn.Module, share: float) -> None:
    """Sets the bias of the layers that make the logits, so that every pixel starts near the probability `share`.

    From logits near 0 the Tversky loss of a small tumour first has to take back half of the picture; its gradient for
    that shrinks what is right along with what is wrong, and a network may stay at outlining next to nothing. Lin et al.
    2017 (arXiv:1708.02002, 4.1) start their focal loss in the same way.

    Args:
        network: Its `answers` make its logits, or its last convolution does.
        share: Of the pixels drawn in training, how many are of the class; more than 0, less than 1.

    Raises:
        ValueError: A layer has no bias, or the share is none.
    """
    if not 0 < share < 1:
        raise ValueError(f"expected a share of more than 0 and less than 1, received {share}")
    last = [module for module in network.modules() if isinstance(module, _ConvNd)][-1]
    for layer in getattr(network, "answers", (last,)):
        if layer.bias is None:
            raise ValueError(f"expected a layer with a bias, received {layer}")
        with torch.no_grad():
            layer.bias.fill_(log(share / (1 - share)))
