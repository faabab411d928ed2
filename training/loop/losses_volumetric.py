"""The published systems' losses under a name: MONAI's, over logits (n, classes, ...) of any number of dimensions."""

from __future__ import annotations

from collections.abc import Callable

from monai.losses import DiceCELoss, DiceLoss, TverskyLoss
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


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
