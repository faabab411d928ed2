"""From raw grey values to network inputs, as published. Numpy only, so that serving may call it too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Input = Callable[[NDArray[Any]], NDArray[np.float32]]

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue of 0..1


def unit(image: NDArray[Any]) -> NDArray[np.float32]:
    """8-bit colours to 0..1 (systems A and B)."""
    return np.asarray(image, np.float32) / np.float32(255)


def imagenet(image: NDArray[Any]) -> NDArray[np.float32]:
    """8-bit colours as networks that were trained on ImageNet expect them."""
    mean, deviation = (np.array(each, np.float32)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return np.asarray((unit(image) - mean) / deviation, np.float32)


def standardised(image: NDArray[Any]) -> NDArray[np.float32]:
    """The whole picture to mean 0 and deviation 1 (system C)."""
    values = np.asarray(image, np.float32)
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-6), np.float32)


def standardised_by_slice(image: NDArray[Any]) -> NDArray[np.float32]:
    """Every channel of every slice of (channels, slices, rows, columns) to mean 0 and deviation 1 (system D).

    It is the sub-volume that is standardised, in training and in sliding-window inference alike. A slice that is all
    one value, as beyond the head, becomes 0.
    """
    values = np.asarray(image, np.float32)
    mean, deviation = values.mean(axis=(2, 3), keepdims=True), values.std(axis=(2, 3), keepdims=True)
    return np.asarray(np.where(deviation > 1e-6, (values - mean) / np.maximum(deviation, 1e-6), 0), np.float32)


def hounsfield(image: NDArray[Any]) -> NDArray[np.float32]:
    """HU clipped to -1024..1024 and divided by 1024 (system E)."""
    return np.clip(np.asarray(image, np.float32), -1024, 1024) / np.float32(1024)


def as_prepared(image: NDArray[Any]) -> NDArray[np.float32]:
    """What `pipelines.brain.volume` has prepared already, for training and serving alike."""
    return np.asarray(image, np.float32)


INPUTS: dict[str, Input] = {
    "unit-v1": unit,
    "imagenet-v1": imagenet,
    "standardised-v1": standardised,
    "standardised-by-slice-v1": standardised_by_slice,
    "hounsfield-1024-v1": hounsfield,
    "brain-volume-v1": as_prepared,
}
