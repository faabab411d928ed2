"""A linear probe: the encoder stays as it is, and the last layer is solved for exactly, in seconds.

Few pictures do not teach an encoder much; they do settle a logistic regression on its features (Kornblith et al. 2019,
arXiv:1805.08974, section 4.1). Its problem is convex: no rate, no schedule, no number of epochs, nothing to stop early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import structlog
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import nn

from training.data.dataset import Parts
from training.data.examples import target
from training.data.inputs import INPUTS
from training.data.items import Item
from training.evaluate.figures import area_under_curve
from training.experiment import Experiment
from training.loop.checkpoint import write_record
from training.networks.efficient_lite import EfficientLiteClassifier
from training.networks.registry import build

log = structlog.get_logger(__name__)

Features = NDArray[np.float64]
Truth = NDArray[np.bool_]
History = list[dict[str, float]]
Memory = dict[str, tuple[Features, bool]]
"""By the item's name: features (copies, width) and truth. Folds share it: they have one encoder."""


def solve(
    experiment: Experiment, parts: Parts, folder: Path, record: Mapping[str, Any], memory: Memory | None = None
) -> History:
    """Solves an experiment; `folder` then holds what a trained one's does, but for a checkpoint to resume from.

    The last layer is a logistic regression with a ridge on standardised features: it minimises mean cross-entropy +
    `weight_decay` / 2 times the squared norm of the weights of features divided by the root of their number. Every
    training picture and its mirror images count alike.

    Args:
        experiment: What to solve.
        parts: Its data set.
        folder: Where the run goes.
        record: What record.json says beside the history.
        memory: Features of items that were looked at already; those of others are added.

    Returns:
        Two entries: before, when nothing is known and every answer is 0.5, and after.

    Raises:
        ValueError: It is no such classifier, or all training pictures are of one class.
    """
    network = _network(experiment)
    seen, held_out = (look_at(experiment, network, part, memory) for part in (parts.training, parts.validation))
    linear = last_layer(network)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    history = [_entry(0, linear, seen, held_out)]
    set_last_layer(linear, *seen, ridge=experiment.weight_decay)
    history.append(_entry(1, linear, seen, held_out))
    _write(folder, network, record, history)
    return history


def _network(experiment: Experiment) -> EfficientLiteClassifier:
    network = build(experiment)
    if (
        not isinstance(network, EfficientLiteClassifier)
        or experiment.task != "classification"
        or len(experiment.classes) != 1
    ):
        raise ValueError(f"{experiment.name}: expected a classifier of one class over efficient-lite, to solve it")
    network.eval()
    return network


def last_layer(network: EfficientLiteClassifier) -> nn.Linear:
    """The layer that is solved for."""
    return cast("nn.Linear", network.linear[-1])


def look_at(
    experiment: Experiment, network: EfficientLiteClassifier, items: Sequence[Item], memory: Memory | None = None
) -> tuple[Features, Truth]:
    """Features (n, width) of the items and their mirror images, and whether there is tumour: (n,)."""
    memory = {} if memory is None else memory
    for item in items:
        if item.name not in memory:
            memory[item.name] = _look(experiment, network, item)
    looks = [memory[item.name] for item in items]
    truth = [word for features, word in looks for _ in features]
    return np.concatenate([features for features, _ in looks]), np.array(truth)


def _look(experiment: Experiment, network: EfficientLiteClassifier, item: Item) -> tuple[Features, bool]:
    axes = experiment.variation.mirror
    flips = [[1 + axis for axis in some] for count in range(len(axes) + 1) for some in combinations(axes, count)]
    image, truth = item.read()
    plain = torch.from_numpy(INPUTS[experiment.inputs](image))
    with torch.inference_mode():
        features = network.features(torch.stack([plain.flip(flip) for flip in flips])).double().numpy()
    return features, bool(target(experiment, truth)[0])


def set_last_layer(linear: nn.Linear, features: Features, truth: Truth, ridge: float) -> None:
    """Solves for the weights of one output; standardisation is folded into them.

    Args:
        linear: What is set.
        features: (n, width).
        truth: (n,), of both kinds.
        ridge: See `solve`.
    """
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    scale = deviation * np.sqrt(features.shape[1])
    solver = LogisticRegression(C=1 / (ridge * len(features)), tol=1e-6, max_iter=5000)
    solved = solver.fit((features - mean) / scale, truth)
    weight = solved.coef_[0] / scale
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight)[None])
        linear.bias.fill_(float(solved.intercept_[0] - weight @ mean))


def _entry(
    epoch: int, linear: nn.Linear, seen: tuple[Features, Truth], held_out: tuple[Features, Truth]
) -> dict[str, float]:
    loss, _ = _measure(linear, *seen)
    val_loss, score = _measure(linear, *held_out)
    return {"epoch": float(epoch), "loss": loss, "val_loss": val_loss, "score": score}


def _measure(linear: nn.Linear, features: Features, truth: Truth) -> tuple[float, float]:
    """Mean cross-entropy and AUC."""
    with torch.inference_mode():
        logits = linear(torch.from_numpy(features).float())[:, 0].double()
    loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(truth).double())
    return float(loss), area_under_curve(logits.numpy(), truth)


def _write(folder: Path, network: EfficientLiteClassifier, record: Mapping[str, Any], history: History) -> None:
    logger = TensorBoardLogger(folder, name=None, version="")
    for entry in history:
        logger.log_metrics({key: value for key, value in entry.items() if key != "epoch"}, int(entry["epoch"]))
    logger.finalize("success")
    best = history[-1]["score"]
    torch.save({"weights": network.state_dict(), "score": best}, folder / "best.pt")
    write_record(folder, record["experiment"]["name"], record, best, history)
