"""The network that a package holds: what answers of a run's, and its way to ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from training.experiment import Experiment
from training.networks.ensemble import Mean, Of, both_sides
from training.networks.registry import build, served
from training.package.sixteen_bits import fold_norms, round_weights, store_in_half

OPSET = 18
STEP = 16  # what the sides of an image must be divisible by
DIFFERENCE = 2e-3  # largest difference of a logit between torch and ONNX Runtime, both FP32


class ServedNetwork(nn.Module):
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


def answer_of(experiment: Experiment) -> nn.Module:
    """What is exported of the experiment's network, with no weights worth having yet."""
    return _answering(experiment, build(experiment))


def _answering(experiment: Experiment, network: nn.Module) -> nn.Module:
    if not experiment.prepared:
        return served(network)
    return ServedNetwork(network, 0 if experiment.task == "segmentation" else 1, experiment.mirror, experiment.zooms)


def mean_of(
    experiments: Sequence[Experiment], runs: Sequence[Path], *, mirror: bool = False, of: Of = "logits"
) -> Mean:
    """What is served of the experiments' networks with the weights that `runs` kept, in evaluation mode; see `Mean`."""
    answers = []
    for experiment, run in zip(experiments, runs, strict=True):
        weights, network = torch.load(run / "best.pt", weights_only=True)["weights"], build(experiment)
        if experiment.prepared:  # a classifier takes the encoder that a segmenter was trained with
            known = network.state_dict()
            weights = {key: value for key, value in weights.items() if key in known}
        network.load_state_dict(weights)
        answers.append(_answering(experiment, network))
    mean = Mean(answers, mirror=mirror, of=of)
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
