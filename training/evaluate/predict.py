"""A network's answer to an item: a picture or slice at once, a scan by sliding windows, mapped as in training.

What serving looks at in one pass, a prepared brain, is one pass here too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.contract import Engine
from engines.packages.activation import probabilities
from pipelines.brain.volume import NeighbourSlices
from pipelines.networks import spans
from training.data.inputs import INPUTS
from training.experiment import Experiment

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Network inputs (n, channels, ...) to probabilities (n, classes, ...)."""


def by_engine(engine: Engine) -> Predict:
    """The engine that serves, as a predictor."""

    def predict(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = engine.infer({"image": np.ascontiguousarray(inputs)})
        answer: NDArray[np.float32] = probabilities(engine.package.manifest, outputs)["logits"]
        return answer

    return predict


def of_slices(network: nn.Module, output: int) -> Predict:
    """A torch network of prepared slices, one of whose answers (pixel logits, slice logits) is taken; in bfloat16."""
    device = next(network.parameters()).device
    network.eval()

    def predict(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        image = torch.from_numpy(inputs).to(device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            answer = network(image)
        logits = answer[output] if isinstance(answer, tuple) else answer
        probabilities: NDArray[np.float32] = torch.sigmoid(logits.float()).cpu().numpy()
        return probabilities

    return predict


def by_torch(experiment: Experiment, network: nn.Module) -> Predict:
    """A torch network as a predictor, on the device where its weights are."""
    device = next(network.parameters()).device
    network.eval()

    def predict(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits = network(torch.from_numpy(inputs).to(device)).float()
        shares = torch.sigmoid(logits) if experiment.activation == "sigmoid" else logits.softmax(dim=1)
        answer: NDArray[np.float32] = shares.cpu().numpy()
        return answer

    return predict


def predict_item(experiment: Experiment, predict: Predict, image: NDArray[Any]) -> NDArray[np.float32]:
    """Raw image (channels, ...) to probabilities (classes, ...) of its own size, or (classes,)."""
    mapping = INPUTS[experiment.inputs]
    if len(experiment.size) == 3 and experiment.neighbours:
        return _by_slice(experiment, predict, mapping(image))
    if len(experiment.size) == 2 or image.shape[1:] == experiment.served_size:
        return np.asarray(predict(mapping(image)[None])[0])

    def window(raw: Tensor) -> Tensor:
        return torch.from_numpy(predict(np.stack([mapping(each) for each in raw.numpy()])))

    from monai.inferers import sliding_window_inference

    scan = torch.from_numpy(np.array(image, np.float32))[None]
    answer: NDArray[np.float32] = sliding_window_inference(
        scan, experiment.size, 1, window, overlap=0.25, mode="gaussian"
    )[0].numpy()
    return answer


def _by_slice(experiment: Experiment, predict: Predict, brain: NDArray[np.float32]) -> NDArray[np.float32]:
    """As serving asks a network of slices: the same slices, the same batches."""
    slices = NeighbourSlices(brain, experiment.neighbours)
    answers = ((start, predict(slices.inputs(start, stop))) for start, stop in spans(slices.shown))
    return slices.joined(answers, len(experiment.classes))


def masks(experiment: Experiment, probability: NDArray[np.float32], threshold: float = 0.5) -> NDArray[np.bool_]:
    """Probabilities (classes, ...) to masks: the likeliest class with softmax, from the threshold up with sigmoids."""
    if experiment.activation == "sigmoid":
        return probability >= threshold
    classes = np.arange(len(probability)).reshape(-1, *(1,) * (probability.ndim - 1))
    return np.asarray(probability.argmax(axis=0)[None] == classes)


def two_stage(
    stages: tuple[Experiment, Experiment],
    predicts: tuple[Predict, Predict],
    image: NDArray[Any],
    threshold: float = 0.5,
) -> NDArray[np.float32]:
    """System C: the segmenter looks only where the classifier says tumour; elsewhere the probability is 0.

    Args:
        stages: Classifier, segmenter.
        predicts: Their networks.
        image: A slice (3, height, width) of 0..255.
        threshold: From which probability on the classifier's word counts.
    """
    (classifier, segmenter), (classify, segment) = stages, predicts
    if predict_item(classifier, classify, image)[0] < threshold:
        return np.zeros((len(segmenter.classes), *image.shape[1:]), np.float32)
    return predict_item(segmenter, segment, image)
