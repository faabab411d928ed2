"""The training loop: bfloat16 on CPU, weights averaged (EMA), the best checkpoint kept, resumable.

The learning rate follows the wall clock, not the step count: on a shared machine nobody knows how many steps an hour
holds, but everybody knows when the hour is over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.data.case import Case, Samples, gather, split_by_patient, split_by_slice
from training.data.draw import Batch, Draw
from training.evaluate import Segmented, area_under_curve, in_batches
from training.losses import cross_entropy, segmentation_loss
from training.networks.efficient_unet import EfficientLiteUNet
from training.networks.resunet import ResUNet, SliceClassifier
from training.recipes import Recipe

log = structlog.get_logger(__name__)


def use_threads(threads: int | None) -> None:
    """Takes so many processor threads; denormal numbers, slow and worthless, become zero."""
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


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

    @torch.inference_mode()
    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, channels, h, w) to pixel probabilities (n, classes, h, w) or slice probabilities (n, classes)."""
        image = torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self._network(image)[self._output]
        probabilities: NDArray[np.float32] = torch.sigmoid(logits.float()).numpy()
        return probabilities


def score(recipe: Recipe, network: nn.Module, held_out: Sequence[Case]) -> float:
    """One number to choose a checkpoint by: mean over classes of the Dice by patient, or the AUC over slices."""
    if recipe.task == "classification":
        predict = Predictor(network, 1)
        scores = np.concatenate([in_batches(predict, case)[:, 0] for case in held_out])
        truth = np.concatenate([case.masks[:, 0].any(axis=(1, 2)) for case in held_out])
        return area_under_curve(scores.astype(np.float64), truth)
    segmented = [Segmented.of(Predictor(network, 0), case) for case in held_out]
    by_class = [[s.dice(channel, 0.5) for s in segmented] for channel in range(len(recipe.classes))]
    return float(np.mean([np.mean([d for d in dices if d is not None]) for dices in by_class]))


@dataclass
class Run:
    """A training in progress.

    Attributes:
        folder: Where checkpoints and the record go.
        minutes: The budget of this run.
        phantoms: How many phantom slices are mixed in.
        more: How many slices of another data set are mixed in.
        before: Minutes of training behind the weights that the run started from.
        used: Seconds of training so far.
        best: Best score so far.
        history: One entry per epoch: epoch, minutes, loss, and the score where it was measured.
    """

    recipe: Recipe
    folder: Path
    minutes: float
    network: nn.Module
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    phantoms: int = 0
    more: int = 0
    before: float = 0.0
    used: float = 0.0
    best: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(cls, recipe: Recipe, folder: Path, minutes: float | None, initial: Path | None, resume: bool) -> Run:
        """A fresh run, one that starts from another run's weights (`initial`), or an interrupted one taken up again."""
        torch.manual_seed(recipe.seed + recipe.variant)
        folder.mkdir(parents=True, exist_ok=True)
        network, before = build(recipe, pretrained=initial is None and not resume), 0.0
        if initial is not None:
            state = torch.load(initial, weights_only=True)
            weights, before = state["weights"], state["minutes"]
            missing = network.load_state_dict({k: v for k, v in weights.items() if k in network.state_dict()}, False)
            log.info("initial_weights", missing=len(missing.missing_keys))
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
        optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
        run = cls(recipe, folder, minutes or recipe.minutes, network, average, optimizer, before=before)
        if resume and (folder / "last.pt").exists():
            run._load(torch.load(folder / "last.pt", weights_only=True))
        return run

    @property
    def done(self) -> bool:
        """The budget is used up."""
        return self.used >= self.minutes * 60

    def epoch(self, draw: Draw) -> float:
        """Trains one epoch, returns the mean loss."""
        self.network.train()
        losses = []
        for batch in draw.epoch():
            began = time.monotonic()
            losses.append(self._step(batch))
            self.used += time.monotonic() - began
            if self.done:
                break
        return float(np.mean(losses))

    def _step(self, batch: Batch) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * schedule(self.used / (self.minutes * 60))
        inputs, targets, trusted, positive = batch
        with torch.autocast("cpu", torch.bfloat16):
            pixels, slices = self.network(inputs)
        if pixels is None:
            loss = cross_entropy(slices.float(), positive, trusted)
        else:
            loss = segmentation_loss(pixels.float(), slices.float(), targets, trusted, positive)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        return float(loss.detach())

    def keep(self, value: float | None) -> None:
        """Writes the record and `last.pt`, and `best.pt` where the score is the best so far or the last one counts."""
        weights = self.average.module.state_dict()
        state = {"used": self.used, "best": max(self.best, value or -1.0), "history": self.history}
        better = value is not None and value >= self.best
        self.best = max(self.best, -1.0 if value is None else value)
        if better or self.recipe.keep == "last":
            minutes = self.before + self.used / 60
            _write(self.folder / "best.pt", {"weights": weights, "score": value, "minutes": minutes})
        everything = {"network": self.network.state_dict(), "average": self.average.state_dict()}
        _write(self.folder / "last.pt", {**everything, "optimizer": self.optimizer.state_dict(), **state})
        settings = {"minutes": self.minutes, "phantoms": self.phantoms, "more": self.more, "before": self.before}
        record = {"recipe": asdict(self.recipe), **settings, **state}
        (self.folder / "record.json").write_text(json.dumps(record, indent=1))

    def _load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.used, self.best, self.history = state["used"], state["best"], state["history"]


def _write(path: Path, state: dict[str, Any]) -> None:
    """An export may read the file at any time, so it is replaced whole."""
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def schedule(share: float) -> float:
    """Factor of the learning rate: 3 % linear warm-up, then half a cosine to 1 %."""
    if share < 0.03:
        return 0.05 + 0.95 * share / 0.03
    return 0.01 + 0.99 * 0.5 * (1 + cos(pi * min(1.0, (share - 0.03) / 0.97)))


def fit(
    recipe: Recipe,
    cases: Sequence[Case],
    folder: Path,
    *,
    phantoms: Samples | None = None,
    more: Samples | None = None,
    minutes: float | None = None,
    initial: Path | None = None,
    resume: bool = False,
    epochs: int | None = None,
    score_every: float = 150.0,
) -> Run:
    """Trains until the budget (or `epochs`) is used up; `folder/best.pt` can be exported at any time meanwhile.

    Args:
        recipe: What to train.
        cases: All patients; they are split here, and the held-out ones only ever choose the checkpoint.
        folder: Where the run goes.
        phantoms: Slices to mix in.
        more: Slices of another data set to mix in.
        minutes: Budget of optimisation, instead of the recipe's.
        initial: A `best.pt` to start from.
        resume: Take up `folder/last.pt` where it was left.
        epochs: Stop after so many, whatever the budget.
        score_every: Seconds of training between two looks at the held-out patients.
    """
    trained_on, held_out = split(recipe, cases)
    run = Run.start(recipe, folder, minutes, initial, resume)
    run.phantoms, run.more = (0 if samples is None else len(samples) for samples in (phantoms, more))
    (folder / "held_out.json").write_text(json.dumps(sorted(case.name for case in held_out), indent=1))
    draw = Draw(recipe, gather(trained_on), phantoms, more)
    log.info("training", name=recipe.name, patients=len(trained_on), held_out=len(held_out))
    scored_at = run.used
    while not run.done and (epochs is None or len(run.history) < epochs):
        loss = run.epoch(draw)
        last = run.done or (epochs is not None and len(run.history) + 1 >= epochs)
        value = None
        if last or run.used - scored_at >= score_every:
            value, scored_at = score(recipe, run.average.module, held_out), run.used
        entry = {"epoch": len(run.history), "minutes": run.used / 60, "loss": loss}
        run.history.append(entry if value is None else {**entry, "score": value})
        log.info("epoch", **{key: round(figure, 4) for key, figure in run.history[-1].items()}, best=round(run.best, 4))
        run.keep(value)
    return run
