"""From a checkpoint to a model package: ONNX, checked against torch, measured with the engine that serves."""

from __future__ import annotations

import hashlib
import json
import subprocess
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.activation import probabilities
from engines.choose import open_engine
from engines.contract import Engine, EngineSettings
from engines.package import ModelPackage, load_package
from training.card import write_card
from training.data.case import Case
from training.data.phantoms import phantom_cases
from training.evaluate import (
    Figure,
    Segmented,
    area_under_curve,
    classification_figures,
    in_batches,
    segmentation_figures,
)
from training.fit import build, split
from training.package import CHANNELS, DATA, INTENDED_USE, LABELS, LICENCE, LIMITS, SPACING, describe
from training.recipes import Recipe

log = structlog.get_logger(__name__)

OPSET = 18
DIFFERENCE = 2e-3  # largest difference of a logit between torch and ONNX Runtime, both FP32


class Answer(nn.Module):
    """What is exported: one output; with `mirror`, the mean over the image and its mirror image."""

    def __init__(self, network: nn.Module, output: int, mirror: bool) -> None:
        super().__init__()
        self.network, self.output, self.mirror = network, output, mirror

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) to the logits."""
        logits: Tensor = self.network(image)[self.output]
        if not self.mirror:
            return logits
        mirrored = self.network(image.flip(3))[self.output]
        return (logits + (mirrored.flip(3) if mirrored.ndim == 4 else mirrored)) / 2


def load_answer(recipe: Recipe, checkpoint: Path) -> Answer:
    """The recipe's network with the weights of `checkpoint`, in evaluation mode."""
    network = build(recipe)
    weights = torch.load(checkpoint, weights_only=True)["weights"]
    network.load_state_dict({key: value for key, value in weights.items() if key in network.state_dict()})
    output = 0 if recipe.task == "segmentation" else 1
    return Answer(network, output, recipe.mirror).eval()


def write_onnx(answer: Answer, example: NDArray[np.float32], path: Path) -> None:
    """Writes the network with a free batch dimension."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations are not ours to fix
        torch.onnx.export(
            answer.to(memory_format=torch.contiguous_format),
            (torch.from_numpy(example),),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=4096)}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def check_against_torch(answer: Answer, path: Path, inputs: NDArray[np.float32]) -> float:
    """Largest difference of a logit between torch and ONNX Runtime.

    Raises:
        ArithmeticError: It is more than `DIFFERENCE`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = answer(torch.from_numpy(inputs)).numpy()
    difference = float(np.abs(session.run(None, {"image": inputs})[0] - expected).max())
    if difference > DIFFERENCE:
        raise ArithmeticError(f"{path}: logits differ from torch by {difference:.2g}, allowed {DIFFERENCE}")
    return difference


def reference_inputs(recipe: Recipe, count: int = 2) -> NDArray[np.float32]:
    """Inputs for the admission gate, from phantoms: the slices that show most of the class `oversampled`."""
    found = []
    for case in phantom_cases(recipe.preprocessing, count, seed=90_000):
        largest = int(case.masks[:, recipe.oversampled].sum(axis=(1, 2)).argmax())
        found.append(case.prepared.inputs(largest, largest + 1))
    return np.concatenate(found).astype(np.float16).astype(np.float32)


def export(recipe: Recipe, run: Path, cases: Sequence[Case], out: Path, version: str) -> ModelPackage:
    """Writes the package `out/<package name>` from `run/best.pt`, with figures measured on the held-out patients.

    Args:
        recipe: What was trained.
        run: The run's folder.
        cases: All patients of the data set; only the held-out ones are looked at.
        out: Folder of packages.
        version: Version of the package, such as 0.1.0.
    """
    trained_on, held_out = split(recipe, cases)
    folder = out / recipe.package
    folder.mkdir(parents=True, exist_ok=True)
    reference = reference_inputs(recipe)
    answer = load_answer(recipe, run / "best.pt")
    write_onnx(answer, reference, folder / "model.onnx")
    difference = check_against_torch(answer, folder / "model.onnx", reference)
    np.savez_compressed(folder / "reference.npz", image=reference)
    manifest = _manifest(recipe, run, folder, version, trained_on, held_out)
    _write(folder, manifest, recipe, difference)
    package = load_package(folder)
    threshold, figures = measure(recipe, package, held_out)
    manifest["thresholds"].update({"mask" if recipe.task == "segmentation" else "probability": threshold})
    manifest["accuracy"] = [_accuracy(recipe, figure) for figure in figures]
    _write(folder, manifest, recipe, difference)
    for figure in figures:
        log.info("figure", package=recipe.package, figure=str(figure))
    return load_package(folder)


def measure(
    recipe: Recipe, package: ModelPackage, held_out: Sequence[Case], threshold: float | None = None
) -> tuple[float, list[Figure]]:
    """Figures of the package on patients it never saw, and the threshold (chosen here, on the same patients, if None)."""
    with open_engine(package, EngineSettings()) as engine:
        log.info("engine", description=str(engine.description))
        if recipe.task == "classification":
            scored = [_slice_scores(engine, case) for case in held_out]
            threshold = threshold or _best_threshold_of_slices(scored)
            return threshold, classification_figures(scored, recipe.classes[0], threshold)
        segmented = [Segmented.of(lambda inputs: infer(engine, inputs), case) for case in held_out]
    threshold = threshold or _best_threshold(segmented, recipe.oversampled)
    return threshold, segmentation_figures(segmented, recipe.classes, threshold)


def infer(engine: Engine, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of the package's only output."""
    outputs = engine.infer({"image": np.ascontiguousarray(inputs)})
    answer: NDArray[np.float32] = probabilities(engine.package.manifest, outputs)["logits"]
    return answer


def _slice_scores(engine: Engine, case: Case) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores = in_batches(lambda inputs: infer(engine, inputs), case)[:, 0].astype(np.float64)
    return scores, case.masks[:, 0].any(axis=(1, 2))


def _best_threshold(segmented: Sequence[Segmented], channel: int) -> float:
    """The threshold in steps of 0.05 with the best mean Dice by patient."""

    def mean_dice(threshold: float) -> float:
        dices = [s.dice(channel, threshold) for s in segmented]
        return float(np.mean([d for d in dices if d is not None]))

    return round(float(max(np.arange(0.3, 0.71, 0.05), key=mean_dice)), 2)


def _best_threshold_of_slices(scored: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> float:
    scores, truth = (np.concatenate(column) for column in zip(*scored, strict=True))
    if np.isnan(area_under_curve(scores, truth)):
        return 0.5
    return round(float(max(np.arange(0.2, 0.81, 0.05), key=lambda t: float(((scores >= t) == truth).mean()))), 2)


def _manifest(
    recipe: Recipe, run: Path, folder: Path, version: str, trained_on: Sequence[Case], held_out: Sequence[Case]
) -> dict[str, Any]:
    record = json.loads((run / "record.json").read_text())
    spatial = held_out[0].prepared.shape
    shape = ["batch", len(recipe.classes), *(spatial[1:] if recipe.task == "segmentation" else ())]
    return {
        "name": recipe.package,
        "version": version,
        "task": recipe.task,
        "description": describe(recipe),
        "licence": LICENCE[recipe.data],
        "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        "inputs": [
            {
                "name": "image",
                "dtype": "float32",
                "shape": ["batch", *spatial],
                "channels": CHANNELS[recipe.preprocessing],
            }
        ],
        "outputs": [
            {
                "name": "logits",
                "dtype": "float32",
                "shape": shape,
                "activation": "sigmoid",
                "classes": list(recipe.classes),
            }
        ],
        "preprocessing": {"name": recipe.preprocessing, "spacing": SPACING[recipe.preprocessing]},
        "labels": LABELS[recipe.data] if recipe.task == "segmentation" else [],
        "thresholds": {"mask": 0.5, "probability": 0.5, "min_volume_ml": 0.1},
        "training": {
            "data": [{**DATA[recipe.data], "patients": len(trained_on)}],
            "split": {
                "by": "patient",
                "held_out": sorted(case.name for case in held_out),
                "note": "the held-out patients also chose the checkpoint and the threshold",
            },
            "phantoms": bool(record.get("phantoms")),
            "recipe": recipe.name,
            "minutes": round(float(record["used"]) / 60, 1),
            "commit": _commit(),
        },
        "accuracy": [],
        "intended_use": INTENDED_USE,
        "reference_inputs": "reference.npz",
    }


def _accuracy(recipe: Recipe, figure: Figure) -> dict[str, Any]:
    interval = [round(bound, 4) for bound in figure.interval] if figure.interval else None
    dataset = f"{DATA[recipe.data]['name']}, held-out patients"
    return {
        "metric": figure.metric,
        "value": round(figure.value, 4),
        "dataset": dataset,
        "n": figure.n,
        "ci95": interval,
    }


def _write(folder: Path, manifest: dict[str, Any], recipe: Recipe, difference: float) -> None:
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=110)
    (folder / "model.yaml").write_text(text)
    write_card(folder / "MODEL_CARD.md", manifest, LIMITS[recipe.data], difference)


def _commit() -> str:
    """The commit that the code was at, if this is a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]  # noqa: S607
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() or "unknown"
