"""What every training has in common as a Lightning module: its plan, AdamW, and weights averaged over steps."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.experiment import System
from training.recipes import Recipe

Plan = Recipe | System
"""How a network is trained. Read here and beside: `name`, `learning_rate`, `weight_decay`, `ema`, `keep`, `patience`,
`precision`, `seed`."""


class Averaged(lightning.LightningModule):
    """A network in training, and the average of its weights over the steps where the plan takes one.

    A subclass computes the loss of a batch, and logs `score` at the end of a validation.

    Args:
        plan: How it is trained.
        network: What is trained.
        seed: Of the draws; every process of several draws its own.
    """

    def __init__(self, plan: Plan, network: nn.Module, seed: int) -> None:
        super().__init__()
        self.plan, self.network, self.seed = plan, network, seed
        self.average = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(plan.ema), use_buffers=True) if plan.ema else None
        )
        if self.average is not None:
            self.average.requires_grad_(False)  # processes wait for the gradients of all that ask for some

    @property
    def kept(self) -> nn.Module:
        """The network whose weights are kept and measured: the average of the steps, where one is taken."""
        return self.network if self.average is None else self.average.module

    def start_from(self, weights: dict[str, torch.Tensor], *, whole: bool = True) -> list[str]:
        """Takes another run's weights; returns the names of those that it lacks, where they need not be `whole`."""
        known = self.network.state_dict()
        missing = self.network.load_state_dict(
            weights if whole else {key: value for key, value in weights.items() if key in known}, strict=whole
        )
        if self.average is not None:
            self.average.module.load_state_dict(self.network.state_dict())
        return list(missing.missing_keys)

    def setup(self, stage: str) -> None:
        """Processes that train together have the same weights, and must not draw the same samples.

        Lightning seeds all of them alike when it connects them, so this comes after what `train` seeds.
        """
        if stage == "fit":
            torch.manual_seed(self.seed + self.global_rank)

    def on_train_batch_end(self, *_: Any) -> None:
        """Takes the step into the average."""
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; `training.loop.schedule` sets its learning rate."""
        return torch.optim.AdamW(
            self.network.parameters(), self.plan.learning_rate, weight_decay=self.plan.weight_decay
        )
