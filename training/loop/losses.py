"""Losses: of prepared slices, whose labels weigh nothing where they are not to be trusted, and MONAI's under a name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses import DiceCELoss, DiceLoss, TverskyLoss
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


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


def cross_entropy(logits: Tensor, target: Tensor, trusted: Tensor) -> Tensor:
    """Binary cross-entropy with logits, mean over what is trusted; (n, classes, ...) logits, (n, classes) trusted."""
    weight = trusted.reshape(trusted.shape + (1,) * (logits.ndim - 2)).expand_as(logits)
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss * weight).sum() / weight.sum().clamp(min=1)


def segmentation_loss(pixels: Tensor, slices: Tensor, target: Tensor, trusted: Tensor, positive: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice on pixels, and a little cross-entropy on slices."""
    dense = cross_entropy(pixels, target, trusted) + soft_dice(pixels, target, trusted)
    return dense + 0.1 * cross_entropy(slices, positive, trusted)


class FocalTverskyLoss(nn.Module):
    """(1 - Tversky) ** gamma of each class over the batch (Abraham and Khan 2018, arXiv:1810.07842).

    `alpha` weighs what is missed and `beta` what is extra, as in the paper; MONAI names them the other way round.
    """

    def __init__(self, alpha: float = 0.7, beta: float = 0.3, gamma: float = 0.75) -> None:
        super().__init__()
        self.gamma = gamma
        self.tversky = TverskyLoss(
            sigmoid=True, alpha=beta, beta=alpha, reduction="none", batch=True, smooth_nr=1.0, smooth_dr=1.0
        )

    def forward(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Logits and truth (n, classes, ...) to one number."""
        loss: Tensor = self.tversky(logits, truth).clamp(min=1e-7).pow(self.gamma).mean()
        return loss


def make_loss(name: str) -> Loss:
    """`bce`, `focal-tversky`, `soft-dice`, `dice-bce` (sigmoids), or `dice-ce` (softmax over one-hot classes).

    Over logits (n, classes, ...) of any number of dimensions.

    `soft-dice` is system D's: squares in the denominator (Milletari et al. 2016, V-Net), no background class.
    `dice-ce` leaves the background, channel 0, out of the Dice.

    Raises:
        ValueError: There is no such loss.
    """
    losses: dict[str, Callable[[], nn.Module]] = {
        "bce": nn.BCEWithLogitsLoss,
        "focal-tversky": FocalTverskyLoss,
        "soft-dice": lambda: DiceLoss(sigmoid=True, squared_pred=True, batch=True),
        "dice-bce": lambda: DiceCELoss(sigmoid=True, batch=True),
        "dice-ce": lambda: DiceCELoss(softmax=True, include_background=False, batch=True),
    }
    if name not in losses:
        raise ValueError(f"expected one of {sorted(losses)}, received {name!r}")
    loss: Loss = losses[name]()
    return loss
