"""`scanward train NAME` for a recipe: slices as serving prepares them, through the loop that all trainings share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from training.data.case import Case, Samples, gather, split_by_patient, split_by_slice
from training.data.draw import Batch, Draw
from training.evaluate.figures import Segmented, area_under_curve, in_batches
from training.loop.learner import Averaged
from training.loop.losses import cross_entropy, segmentation_loss
from training.loop.record import beginning, settle, surroundings
from training.loop.train import Limits, train
from training.networks.efficient_unet import EfficientLiteUNet
from training.networks.resunet import ResUNet, SliceClassifier
from training.package.manifest import data_of
from training.recipes import Recipe

log = structlog.get_logger(__name__)


def build(recipe: Recipe, *, pretrained: bool = False) -> nn.Module:
    """The recipe's network, untrained; `pretrained` fills an encoder that has seen ImageNet with what it saw."""
    network: nn.Module
    if recipe.network == "lite-unet":
        network = EfficientLiteUNet(recipe.channels, len(recipe.classes), recipe.widths, pretrained=pretrained)
    else:
        kind = ResUNet if recipe.task == "segmentation" else SliceClassifier
        network = kind(recipe.channels, len(recipe.classes), recipe.widths)
    return network.to(memory_format=torch.channels_last)


def split(recipe: Recipe, cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """(training, held out): the published split where there is one, else by patient and stratum, or by slice."""
    if recipe.split == "slice":
        return split_by_slice(cases, recipe.held_out, recipe.seed)
    if {case.stratum for case in cases} == {"train", "val"}:
        return [c for c in cases if c.stratum == "train"], [c for c in cases if c.stratum == "val"]
    return split_by_patient(cases, recipe.held_out, recipe.seed)


class Predictor:
    """A torch network as the evaluation wants it: numpy in, probabilities out."""

    def __init__(self, network: nn.Module, output: int) -> None:
        self._network, self._output = network.eval(), output
        self._device = next(network.parameters()).device

    @torch.inference_mode()
    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, channels, h, w) to pixel probabilities (n, classes, h, w) or slice probabilities (n, classes)."""
        image = torch.from_numpy(inputs).to(self._device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16):
            logits = self._network(image)[self._output]
        probabilities: NDArray[np.float32] = torch.sigmoid(logits.float()).cpu().numpy()
        return probabilities


class RecipeLearner(Averaged):
    """Trains one recipe.

    The score that chooses a checkpoint is the mean over classes of the Dice by patient on the source grid, or the AUC
    over slices.

    Args:
        recipe: What is trained.
        network: Its network.
        held_out: The patients that are scored; a validation batch is the number of one.
    """

    def __init__(self, recipe: Recipe, network: nn.Module, held_out: Sequence[Case]) -> None:
        super().__init__(recipe, network, recipe.seed + recipe.variant)
        self.recipe, self._held_out = recipe, held_out
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
        case, classifies = self._held_out[number], self.recipe.task == "classification"
        predict = Predictor(self.kept, int(classifies))
        if classifies:
            truth: NDArray[np.bool_] = np.asarray(case.masks[:, 0].any(axis=(1, 2)))
            self._scored.append((in_batches(predict, case)[:, 0].astype(np.float64), truth))
            return
        segmented = Segmented.of(predict, case)
        dices = (segmented.dice(channel, 0.5) for channel in range(len(self.recipe.classes)))
        self._dices.append([np.nan if dice is None else dice for dice in dices])

    def on_validation_epoch_end(self) -> None:
        """Logs the score of all patients."""
        if self.recipe.task == "classification":
            score = area_under_curve(*(np.concatenate(column) for column in zip(*self._scored, strict=True)))
        else:
            score = float(np.mean(np.nanmean(self._dices, axis=0)))
        self._scored, self._dices = [], []
        self.log("score", score, prog_bar=True)


class Draws(IterableDataset[Batch]):
    """An epoch's batches, drawn anew each time; processes that train or read side by side share it."""

    def __init__(self, draw: Draw, processes: int = 1) -> None:
        self._draw, self._length = draw, max(1, draw.batches // processes)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        reader = get_worker_info()
        first, step = (0, 1) if reader is None else (reader.id, reader.num_workers)
        # torch's seed differs from one process to the next, be it one that trains or one that reads
        generator = np.random.default_rng(int(torch.randint(2**63 - 1, ())))
        for _ in range(first, self._length, step):
            yield self._draw.batch(generator)


def fit(
    recipe: Recipe,
    data: Path,
    cases: Sequence[Case],
    folder: Path,
    limits: Limits | None = None,
    *,
    phantoms: Samples | None = None,
    more: Samples | None = None,
    initial: Path | None = None,
    workers: int = 0,
) -> list[dict[str, float]]:
    """Trains until the budget is used up; `folder/best.pt` can be exported at any time meanwhile.

    Args:
        recipe: What to train.
        data: The data set.
        cases: All its patients; they are split here, and the held-out ones only ever choose the checkpoint.
        folder: Where the run goes.
        limits: When it ends; after the recipe's minutes if they say neither minutes nor epochs.
        phantoms: Slices to mix in.
        more: Slices of another data set to mix in.
        initial: A `best.pt` to start from.
        workers: Processes that vary slices beside.

    Returns:
        One entry per epoch: epoch, loss, score, minutes.
    """
    lightning.seed_everything(recipe.seed + recipe.variant, workers=True, verbose=False)
    limits = limits or Limits()
    if limits.minutes is None and limits.epochs is None:
        limits = replace(limits, minutes=recipe.minutes)
    trained_on, held_out = split(recipe, cases)
    learner = RecipeLearner(recipe, build(recipe, pretrained=initial is None), held_out)
    before = 0.0 if initial is None else _start(learner, initial)
    mixed = {name: 0 if part is None else len(part) for name, part in (("phantoms", phantoms), ("more", more))}
    given: dict[str, Any] = {"recipe": asdict(recipe), **mixed, "before": before, **beginning(initial)}
    given |= surroundings(data, len(trained_on), data_of(recipe, [given], len(trained_on)))
    record = settle(folder, given, resume=limits.resume)
    (folder / "held_out.json").write_text(json.dumps(sorted(case.name for case in held_out), indent=1))
    draw = Draw(recipe, gather(trained_on), phantoms, more)
    log.info("training", name=recipe.name, patients=len(trained_on), held_out=len(held_out))
    return train(
        learner,
        folder,
        record,
        lambda processes: (
            DataLoader(Draws(draw, processes), batch_size=None, num_workers=workers),
            DataLoader(range(len(held_out)), batch_size=None),
        ),
        limits,
    )


def _start(learner: RecipeLearner, initial: Path) -> float:
    """Takes the weights of another run, as far as this network has them; returns the minutes that are behind them."""
    state = torch.load(initial, weights_only=True)
    missing = learner.start_from(state["weights"], whole=False)
    log.info("initial_weights", missing=len(missing))
    return float(state["minutes"])
