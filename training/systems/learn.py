"""The Lightning module that all systems share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from training.evaluate.figures import area_under_curve
from training.experiment import System
from training.loop.learner import Averaged
from training.loop.losses_volumetric import make_loss
from training.loop.prior import expect
from training.networks.registry import make_network
from training.networks.slices_unet import SlicesUNet


def build(system: System) -> nn.Module:
    """The system's network, untrained."""
    return make_network(system.network, len(system.channels), len(system.classes), system.size, system.options)


def served(network: nn.Module) -> nn.Module:
    """The part of a network that a package holds: all of it, or what answers for one slice of a volume."""
    return network.slices if isinstance(network, SlicesUNet) else network


def masks_of(system: System, logits: Tensor) -> Tensor:
    """Logits (n, classes, ...) to masks: the likeliest class with softmax, from 0.5 up with sigmoids."""
    if system.activation == "sigmoid":
        return logits >= 0
    classes = torch.arange(len(system.classes), device=logits.device).reshape(1, -1, *(1,) * (logits.ndim - 2))
    return logits.argmax(dim=1, keepdim=True) == classes


def with_channels_last(network: nn.Module) -> nn.Module:
    """`network`, its convolutions laid out as a processor likes them; there may be some of 2D and some of 3D."""
    for module in network.modules():
        for weight in module.parameters(recurse=False):
            if weight.ndim in (4, 5):
                weight.data = weight.data.contiguous(
                    memory_format=torch.channels_last if weight.ndim == 4 else torch.channels_last_3d
                )
    return network


class Learner(Averaged):
    """Trains one system.

    The score that chooses a checkpoint is the AUC, or the mean over classes of the Dice of all validation voxels
    together, background not counted; of whole brains it is the mean Dice by brain.
    """

    def __init__(self, system: System) -> None:
        network = with_channels_last(build(system))  # convolutions on a processor are faster so
        if system.prior:
            expect(network, system.prior)
        super().__init__(system, network, system.seed)
        self.system, self.loss = system, make_loss(system.loss)
        self._layout = torch.channels_last if len(system.size) == 2 else torch.channels_last_3d
        self._seen: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Loss of a batch; a network with two answers (DoubleU-Net) is trained on both."""
        image, truth = batch
        answer = self.network(image.contiguous(memory_format=self._layout))
        answers = answer if isinstance(answer, tuple) else (answer,)
        loss = torch.stack([self.loss(logits.float(), truth) for logits in answers]).mean()
        self.log("loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(image))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Keeps what the score needs: probabilities, or counts of voxels."""
        image, truth = batch
        logits = self.kept(image.contiguous(memory_format=self._layout)).float()
        self.log("val_loss", self.loss(logits, truth), batch_size=len(image))
        if self.system.task == "classification":
            self._seen.append((torch.sigmoid(logits[:, 0]).cpu(), truth[:, 0].cpu()))
            return
        mask, wanted = masks_of(self.system, logits), truth > 0.5
        axes = (0, *range(2, logits.ndim))
        self._seen.append(((mask & wanted).sum(axes).cpu(), (mask.sum(axes) + wanted.sum(axes)).cpu()))

    def on_validation_epoch_end(self) -> None:
        """Logs the score of the whole validation set."""
        one, other = zip(*self._seen, strict=True)
        self._seen = []
        self.log("score", float(self._score(list(one), list(other))), prog_bar=True)

    def _score(self, one: list[Tensor], other: list[Tensor]) -> float:
        if self.system.task == "classification":
            scores, truth = torch.cat(one).double().numpy(), torch.cat(other).numpy() > 0.5
            score = area_under_curve(scores, truth)
            return float(((scores >= 0.5) == truth).mean()) if np.isnan(score) else score
        hit, total = torch.stack(one), torch.stack(other)
        if self.system.served_size is None:
            hit, total = hit.sum(0, keepdim=True), total.sum(0, keepdim=True)
        dice = ((2 * hit + 1e-6) / (total + 1e-6)).mean(0)
        return float(dice[1 if self.system.activation == "softmax" else 0 :].mean())
