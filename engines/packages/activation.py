"""From a network's logits to probabilities: the one place that says what `activation` in model.yaml means."""

from __future__ import annotations

import numpy as np

from engines.contract import Arrays
from engines.packages.manifest import Manifest, OutputSpec


def probabilities(manifest: Manifest, outputs: Arrays) -> Arrays:
    """Applies each output's activation in place (float32) and returns the arrays by name, (batch, classes, ...)."""
    return {spec.name: activate(spec, outputs[spec.name]) for spec in manifest.outputs}


def activate(spec: OutputSpec, logits: np.ndarray) -> np.ndarray:
    """Sigmoid, softmax over axis 1, or nothing; overwrites a float32 array instead of taking new memory."""
    match spec.activation:
        case "none":
            return logits
        case "sigmoid":
            return _sigmoid(logits.astype(np.float32, copy=False))
        case "softmax":
            return _softmax(logits.astype(np.float32, copy=False))


def masks(manifest: Manifest, spec: OutputSpec, probability: np.ndarray) -> np.ndarray:
    """The class masks (batch, classes, ...) that serving would draw: the largest class, or those at the threshold."""
    if spec.activation != "softmax":
        return probability >= manifest.thresholds.mask
    winner = probability.argmax(axis=1)
    return np.stack([winner == number for number in range(probability.shape[1])], axis=1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # exp of a large positive number overflows to infinity, and 1 / infinity is the right answer
    with np.errstate(over="ignore"):
        np.negative(x, out=x)
        np.exp(x, out=x)
    x += 1
    np.reciprocal(x, out=x)
    return x


def _softmax(x: np.ndarray) -> np.ndarray:
    x -= x.max(axis=1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=1, keepdims=True)
    return x
