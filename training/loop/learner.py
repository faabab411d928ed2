"""What is trained, as Lightning modules: the loss of a batch, the score that chooses a checkpoint, averaged weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.data.case import Case
from training.data.draw import Batch
from training.evaluate.cases import Segmented, in_batches
from training.evaluate.figures import area_under_curve
from training.evaluate.predict import of_slices
from training.experiment import Experiment
from training.loop.losses import cross_entropy, make_loss, segmentation_loss
from training.loop.prior import expect
from training.networks.registry import build


def learner_for(experiment: Experiment, held_out: Sequence[Case]) -> Averaged:
    """The module that trains an experiment; of prepared slices `held_out` are the patients that are scored."""
    return SlicesLearner(experiment, held_out) if experiment.prepared else Learner(experiment)


class Averaged(lightning.LightningModule):
    """A network in training, and the average of its weights over the steps where the experiment takes one.

    A subclass computes the loss of a batch, and logs `score` at the end of a validation. Every process of several that
    train together draws its own samples.
    """

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self.experiment, self.network = experiment, build(experiment)
        self.seed = experiment.seed + experiment.variant
        if experiment.prior:
            expect(self.network, experiment.prior)
        self.average = None
        if experiment.ema:
            mean = get_ema_multi_avg_fn(experiment.ema)
            self.average = AveragedModel(self.network, multi_avg_fn=mean, use_buffers=True)
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
        rate, decay = self.experiment.learning_rate, self.experiment.weight_decay
        return torch.optim.AdamW(self.network.parameters(), rate, weight_decay=decay)


class Learner(Averaged):
    """Trains on published images.

    The score that chooses a checkpoint is the AUC, or the mean over classes of the Dice of all validation voxels
    together, background not counted; of whole brains it is the mean Dice by brain.
    """

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment)
        self.loss = make_loss(experiment.loss)
        self._layout = torch.channels_last if len(experiment.size) == 2 else torch.channels_last_3d
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
        if self.experiment.task == "classification":
            self._seen.append((torch.sigmoid(logits[:, 0]).cpu(), truth[:, 0].cpu()))
            return
        mask, wanted = masks_of(self.experiment, logits), truth > 0.5
        axes = (0, *range(2, logits.ndim))
        self._seen.append(((mask & wanted).sum(axes).cpu(), (mask.sum(axes) + wanted.sum(axes)).cpu()))

    def on_validation_epoch_end(self) -> None:
        """Logs the score of the whole validation set."""
        one, other = zip(*self._seen, strict=True)
        self._seen = []
        self.log("score", float(self._score(list(one), list(other))), prog_bar=True)

    def _score(self, one: list[Tensor], other: list[Tensor]) -> float:
        if self.experiment.task == "classification":
            scores, truth = torch.cat(one).double().numpy(), torch.cat(other).numpy() > 0.5
            score = area_under_curve(scores, truth)
            return float(((scores >= 0.5) == truth).mean()) if np.isnan(score) else score
        hit, total = torch.stack(one), torch.stack(other)
        if self.experiment.served_size is None:
            hit, total = hit.sum(0, keepdim=True), total.sum(0, keepdim=True)
        dice = ((2 * hit + 1e-6) / (total + 1e-6)).mean(0)
        return float(dice[1 if self.experiment.activation == "softmax" else 0 :].mean())


def masks_of(experiment: Experiment, logits: Tensor) -> Tensor:
    """Logits (n, classes, ...) to masks: the likeliest class with softmax, from 0.5 up with sigmoids."""
    if experiment.activation == "sigmoid":
        return logits >= 0
    classes = torch.arange(len(experiment.classes), device=logits.device).reshape(1, -1, *(1,) * (logits.ndim - 2))
    return logits.argmax(dim=1, keepdim=True) == classes


class SlicesLearner(Averaged):
    """Trains on prepared slices.

    The score that chooses a checkpoint is the mean over classes of the Dice by patient on the source grid, or the AUC
    over slices. A validation batch is the number of one of the patients that are held out.
    """

    def __init__(self, experiment: Experiment, held_out: Sequence[Case]) -> None:
        super().__init__(experiment)
        self._held_out = held_out
        self._scored: list[tuple[NDArray[np.float64], NDArray[np.bool_]]] = []
        self._dices: list[list[float]] = []

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of a batch."""
        inputs, targets, trusted, positive = batch
        pixels, slices = self.network(inputs.contiguous(memory_format=torch.channels_last))
        if pixels is None:
            loss = cross_entropy(slices.float(), positive, trusted)
        else:
            loss = segmentation_loss(pixels.float(), slices.float(), targets, trusted, positive)
        self.log("loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(inputs))
        return loss

    def validation_step(self, number: int, index: int) -> None:
        """Predicts one patient."""
        case, classifies = self._held_out[number], self.experiment.task == "classification"
        predict = of_slices(self.kept, int(classifies))
        if classifies:
            self._scored.append((in_batches(predict, case)[:, 0].astype(np.float64), case.shows(0)))
            return
        segmented = Segmented.of(predict, case)
        dices = (segmented.dice(channel, 0.5) for channel in range(len(self.experiment.classes)))
        self._dices.append([np.nan if dice is None else dice for dice in dices])

    def on_validation_epoch_end(self) -> None:
        """Logs the score of all patients."""
        if self.experiment.task == "classification":
            score = area_under_curve(*(np.concatenate(column) for column in zip(*self._scored, strict=True)))
        else:
            score = float(np.mean(np.nanmean(self._dices, axis=0)))
        self._scored, self._dices = [], []
        self.log("score", score, prog_bar=True)
