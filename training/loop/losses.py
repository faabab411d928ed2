"""Losses over pixel logits and slice logits; labels that are not to be trusted weigh nothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_dice(logits: Tensor, target: Tensor, trusted: Tensor, *, smooth: float = 1.0) -> Tensor:
    """1 - Dice of each class over the whole batch, averaged over classes.

    Over the batch and not by slice: a slice without tumour has no Dice, but its false positives count here.

    Args:
        logits: (n, classes, h, w).
        target: Same shape, 0..1.
        trusted: (n, classes), 0 or 1.
        smooth: Keeps the quotient defined when the batch has no target.
    """
    probability = torch.sigmoid(logits) * trusted[:, :, None, None]
    target = target * trusted[:, :, None, None]
    overlap = (probability * target).sum(dim=(0, 2, 3))
    total = probability.sum(dim=(0, 2, 3)) + target.sum(dim=(0, 2, 3))
    return 1 - ((2 * overlap + smooth) / (total + smooth)).mean()


def focal_tversky(
    logits: Tensor, target: Tensor, trusted: Tensor, *, alpha: float = 0.7, gamma: float = 0.75, smooth: float = 1.0
) -> Tensor:
    """(1 - Tversky) ** gamma over the batch; `alpha` weighs what is missed, 1 - alpha what is extra.

    Abraham and Khan 2018, arXiv:1810.07842.
    """
    probability = torch.sigmoid(logits) * trusted[:, :, None, None]
    target = target * trusted[:, :, None, None]
    hit = (probability * target).sum(dim=(0, 2, 3))
    missed, extra = target.sum(dim=(0, 2, 3)) - hit, probability.sum(dim=(0, 2, 3)) - hit
    return (1 - (hit + smooth) / (hit + alpha * missed + (1 - alpha) * extra + smooth)).pow(gamma).mean()


def cross_entropy(logits: Tensor, target: Tensor, trusted: Tensor) -> Tensor:
    """Binary cross-entropy with logits, mean over what is trusted; (n, classes, ...) logits, (n, classes) trusted."""
    weight = trusted.reshape(trusted.shape + (1,) * (logits.ndim - 2)).expand_as(logits)
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss * weight).sum() / weight.sum().clamp(min=1)


def segmentation_loss(pixels: Tensor, slices: Tensor, target: Tensor, trusted: Tensor, positive: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice on pixels, and a little cross-entropy on slices."""
    dense = cross_entropy(pixels, target, trusted) + soft_dice(pixels, target, trusted)
    return dense + 0.1 * cross_entropy(slices, positive, trusted)
