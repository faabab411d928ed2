"""From a checkpoint to a model package: ONNX, checked against torch, measured with the engine that serves."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from engines.package import ModelPackage, load_package
from training.data.case import Case
from training.data.phantoms import phantom_cases
from training.evaluate.measure import measure
from training.loop.fit import build, split
from training.loop.record import read_record
from training.networks.mean import Mean, both_sides
from training.package.card import write_description
from training.package.half import SECTION, write_half
from training.package.manifest import LIMITS, accuracy, forget_variants, manifest, write_reference
from training.package.storage import fold_norms, round_weights, store_in_half
from training.recipes import Recipe

log = structlog.get_logger(__name__)

OPSET = 18
THRESHOLD = 0.5  # where the held-out patients are to choose nothing
STEP = 16  # what the sides of an image must be divisible by
DIFFERENCE = 2e-3  # largest difference of a logit between torch and ONNX Runtime, both FP32


class Answer(nn.Module):
    """What is exported: one output, the mean over sizes of the image and, with `mirror`, its mirror images.

    Args:
        network: Answers with pixel logits and slice logits.
        output: Which of the two.
        mirror: See above.
        zooms: Sizes; the heads of the training data are of unknown size, so no one size is the right one.
    """

    def __init__(self, network: nn.Module, output: int, mirror: bool, zooms: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        self.network, self.output, self.mirror, self.zooms = network, output, mirror, tuple(zooms)

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, h, w) to the logits."""
        if self.zooms == (1.0,):
            return self._logits(image)
        return torch.stack([self._zoomed(image, zoom) for zoom in self.zooms]).mean(0)

    def _zoomed(self, image: Tensor, zoom: float) -> Tensor:
        size = image.shape[2:]
        if zoom == 1.0:
            return self._logits(image)
        nearest = tuple(max(1, round(int(length) * zoom / STEP)) * STEP for length in size)
        zoomed = interpolate(image, nearest, mode="bilinear", align_corners=False)
        return interpolate(self._logits(zoomed), size, mode="bilinear", align_corners=False)

    def _logits(self, image: Tensor) -> Tensor:
        return both_sides(self._asked, image) if self.mirror else self._asked(image)

    def _asked(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(image)[self.output]
        return logits


def untrained_answer(recipe: Recipe) -> Answer:
    """What is exported of the recipe's network, with no weights worth having yet."""
    return Answer(build(recipe), 0 if recipe.task == "segmentation" else 1, recipe.mirror, recipe.zooms)


def load_answer(recipe: Recipe, runs: Sequence[Path]) -> Mean:
    """The recipe's network with the weights that `runs` kept, in evaluation mode; of several, the mean answers."""
    return mean_answer([(recipe, run) for run in runs])


def mean_answer(kept: Sequence[tuple[Recipe, Path]]) -> Mean:
    """As `load_answer`, of runs of any recipes that take and answer with the same."""
    answers = []
    for recipe, run in kept:
        answer = untrained_answer(recipe)
        weights = torch.load(run / "best.pt", weights_only=True)["weights"]
        known = answer.network.state_dict()
        answer.network.load_state_dict({key: value for key, value in weights.items() if key in known})
        answers.append(answer)
    mean = Mean(answers)
    mean.eval()
    return mean


def write_onnx(answer: nn.Module, example: NDArray[np.float32], path: Path, *, compact: bool = False) -> None:
    """Writes the network with a free batch dimension; `example` is (n, channels, ...); `compact` rounds its weights."""
    if compact:
        fold_norms(answer)  # the exporter would do it after the rounding
        round_weights(answer)
    two = np.resize(example, (2, *example.shape[1:]))  # of a batch of one, the exporter would make a constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations are not ours to fix
        torch.onnx.export(
            answer.to(memory_format=torch.contiguous_format),
            (torch.from_numpy(two),),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=4096)}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    forget_origin(path)
    if compact:
        store_in_half(path)


def forget_origin(path: Path) -> None:
    """Removes the stack traces that the exporter leaves on every node: they name this machine's folders."""
    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.save(model, path)


def ask_onnx(network: Path | bytes, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """What ONNX Runtime answers in FP32 to one input, (n, channels, ...); of several outputs the first."""
    import onnxruntime

    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    answer: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: image})[0]
    return answer


def check_against_torch(answer: nn.Module, path: Path, inputs: NDArray[np.float32]) -> float:
    """Largest difference of a logit between torch and ONNX Runtime.

    Raises:
        ArithmeticError: It is more than `DIFFERENCE`.
    """
    with torch.inference_mode():
        expected = answer(torch.from_numpy(inputs)).numpy()
    difference = float(np.abs(ask_onnx(path, inputs) - expected).max())
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


def export(
    recipe: Recipe,
    runs: Sequence[Path],
    cases: Sequence[Case],
    out: Path,
    version: str,
    *,
    half: bool = True,
    compact: bool = False,
    pictures: bool = True,
) -> ModelPackage:
    """Writes the package `out/<package name>` of what `runs` kept, with figures measured on the held-out patients.

    Args:
        recipe: What was trained.
        runs: The runs' folders; of several, the mean of their logits answers.
        cases: All patients of the data set; only the held-out ones are looked at.
        out: Folder of packages.
        version: Version of the package, such as 0.1.0.
        half: Make an FP16 variant too, if it answers alike.
        compact: Keep the weights in 16 bits; they are rounded before anything is measured.
        pictures: Draw a gallery into the first run's folder.

    Raises:
        ValueError: A run was split by slice, so it has seen every patient.
    """
    records = [read_record(run) for run in runs]
    for run, record in zip(runs, records, strict=True):
        if record["recipe"].get("split") == "slice":
            raise ValueError(f"{run}: was split by slice, for comparison only; expected one that was split by patient")
    trained_on, held_out = split(recipe, cases)
    folder = out / recipe.package
    folder.mkdir(parents=True, exist_ok=True)
    forget_variants(folder)
    reference = reference_inputs(recipe)
    answer = load_answer(recipe, runs)
    write_onnx(answer, reference, folder / "model.onnx", compact=compact)
    difference = check_against_torch(answer, folder / "model.onnx", reference)
    write_reference(folder, {"image": reference})
    network = (folder / "model.onnx").read_bytes()
    content = manifest(recipe, records, network, version, (len(trained_on), held_out))
    sections: dict[str, str] = {}
    write_description(folder, content, LIMITS[recipe.data], difference, sections)
    if half:
        content["variants"], sections[SECTION] = write_half(load_package(folder))
        write_description(folder, content, LIMITS[recipe.data], difference, sections)
    fixed = THRESHOLD if recipe.keep == "last" else None
    threshold, figures = measure(recipe, load_package(folder), held_out, fixed, runs[0] if pictures else None)
    content["thresholds"].update({"mask" if recipe.task == "segmentation" else "probability": threshold})
    content["accuracy"] = [accuracy(recipe, figure) for figure in figures]
    write_description(folder, content, LIMITS[recipe.data], difference, sections)
    for figure in figures:
        log.info("figure", package=recipe.package, figure=str(figure))
    return load_package(folder)
