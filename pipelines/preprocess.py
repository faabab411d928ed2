"""From a volume to what a network eats, and back. Training and serving both call this file, so they cannot drift apart.

Axis order everywhere: a source volume is (slices, rows, columns) in standard axial orientation, rows running to the
patient's posterior and columns to the patient's left; a network input is (slices, channels, height, width), float32.
Spacing is (slice, row, column) in mm. Only the plane is resampled: slices stay the scanner's slices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Axis:
    """How one in-plane axis of the source lies on the network's grid.

    Attributes:
        size: Number of source pixels.
        spacing: Source spacing in mm.
        centre: Source coordinate (pixel centres at 0, 1, ...) that comes to lie on the middle of the network grid.
        target_size: Number of network pixels.
        target_spacing: Network spacing in mm.
    """

    size: int
    spacing: float
    centre: float
    target_size: int
    target_spacing: float

    def forward(self) -> Resampling:
        """Resamples source pixels onto the grid; outside the source, zero."""
        where = (np.arange(self.target_size) - (self.target_size - 1) / 2) * self.target_spacing / self.spacing
        return Resampling(where + self.centre, self.size, self.target_spacing / self.spacing)

    def backward(self) -> Resampling:
        """Puts network pixels back on the source; outside the grid, zero."""
        where = (np.arange(self.size) - self.centre) * self.spacing / self.target_spacing
        return Resampling(where + (self.target_size - 1) / 2, self.target_size, self.spacing / self.target_spacing)


class Resampling:
    """Linear interpolation along one axis, widened to a triangle of `ratio` pixels when shrinking (no aliasing).

    Few source pixels contribute to each target, so weights are kept as taps: target i is the sum over k of
    `weight[k, i]` times source `index[k, i]`.
    """

    def __init__(self, positions: NDArray[Any], size: int, ratio: float) -> None:
        width = max(1.0, ratio)
        clamped = np.clip(positions, 0, size - 1)
        weights = np.maximum(0.0, 1.0 - np.abs(clamped[:, None] - np.arange(size)) / width)
        weights /= weights.sum(axis=1, keepdims=True)
        weights[np.abs(positions - clamped) > 0.5 * width] = 0.0
        taps = max(1, int((weights > 0).sum(axis=1).max()))
        first = np.minimum((weights > 0).argmax(axis=1), size - taps)
        self.index = first + np.arange(taps)[:, None]
        self.weight = np.take_along_axis(weights, self.index.T, axis=1).T.astype(np.float32)
        self.matrix = np.ascontiguousarray(weights.T, dtype=np.float32)

    def window(self, targets: slice) -> Resampling:
        """The same, for some of the targets only."""
        part = copy(self)
        part.index, part.weight, part.matrix = self.index[:, targets], self.weight[:, targets], self.matrix[:, targets]
        return part

    def rows(self, planes: Array) -> Array:
        """Along the last but one axis, by taps."""
        out = np.zeros((*planes.shape[:-2], self.index.shape[1], planes.shape[-1]), np.float32)
        for index, weight in zip(self.index, self.weight, strict=True):
            out += np.take(planes, index, axis=-2) * weight[:, None]
        return out

    def columns(self, planes: Array) -> Array:
        """Along the last axis; a matrix product is faster there than gathering single pixels."""
        return np.asarray(np.matmul(planes, self.matrix), np.float32)


def _resample(planes: Array, rows: Resampling, columns: Resampling) -> Array:
    """Resamples (..., y, x) to (..., Y, X), slice by slice, so that a batch gives what single slices give."""
    out = np.empty((*planes.shape[:-2], rows.index.shape[1], columns.index.shape[1]), np.float32)
    for place in np.ndindex(planes.shape[:-2]):
        out[place] = columns.columns(rows.rows(planes[place]))
    return out


class PreparedSlices(ABC):
    """A volume ready to be served to a network in batches of slices, so that memory does not grow with the series.

    Attributes:
        rows: The row axis of source and grid.
        columns: The column axis of source and grid.
        channels: Names of the channels, in order.
    """

    channels: tuple[str, ...]

    def __init__(self, rows: Axis, columns: Axis) -> None:
        self.rows, self.columns = rows, columns
        self._forward = rows.forward(), columns.forward()
        self._backward = rows.backward(), columns.backward()

    @abstractmethod
    def __len__(self) -> int:
        """Number of slices."""

    @abstractmethod
    def inputs(self, start: int = 0, stop: int | None = None) -> Array:
        """Network inputs (stop - start, channels, height, width) of the slices `start` to `stop`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one input."""
        return len(self.channels), self.rows.target_size, self.columns.target_size

    def restore(self, probabilities: Array, window: tuple[slice, slice] | None = None) -> Array:
        """Puts (n, classes, height, width) back on the source grid: (n, classes, rows, columns); zero off the grid.

        With a `window` of source rows and columns only those are computed; see `source_window`.
        """
        rows, columns = self._backward
        if window is not None:
            rows, columns = rows.window(window[0]), columns.window(window[1])
        return _resample(np.asarray(probabilities, np.float32), rows, columns)

    def source_window(self, occupied: NDArray[np.bool_]) -> tuple[slice, slice]:
        """Rows and columns of the source that the true pixels of a mask (height, width) have any influence on."""
        windows = []
        for resampling, axis in zip(self._backward, (1, 0), strict=True):
            hit = np.flatnonzero(resampling.matrix[occupied.any(axis=axis)].any(axis=0))
            windows.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0))
        return windows[0], windows[1]

    def place(self, planes: NDArray[Any]) -> Array:
        """Resamples source planes (..., rows, columns), a mask for instance, onto the grid: (..., height, width)."""
        return _resample(np.asarray(planes, np.float32), *self._forward)


@dataclass(frozen=True)
class Intensity:
    """Robust affine map of a volume's grey values: clip to `low`..`high`, subtract `middle`, divide by `deviation`."""

    low: float
    high: float
    middle: float
    deviation: float

    @classmethod
    def of(cls, volume: NDArray[Any]) -> Intensity:
        """Statistics over the foreground (what is brighter than 0.7 of the mean: head or body, not air).

        One map per volume, not per slice: a slice through a large tumour must stay brighter than its neighbours.
        """
        values = np.asarray(volume, np.float32).ravel()
        foreground = values[values > 0.7 * values.mean()]
        if foreground.size == 0 or float(np.ptp(foreground)) == 0.0:
            return cls(float(values.min()), float(values.max()), float(values.mean()), 1.0)
        dark, middle, bright, high = np.percentile(foreground, (5, 50, 95, 99.5))
        inner = foreground[(foreground >= dark) & (foreground <= bright)]  # without fat and flow, which vary most
        return cls(min(0.0, float(values.min())), float(high), float(middle), max(float(inner.std()), 1e-6))

    def apply(self, planes: NDArray[Any]) -> Array:
        """Maps `planes`, any shape."""
        clipped = np.clip(np.asarray(planes, np.float32), self.low, self.high)
        return np.asarray(np.clip((clipped - self.middle) / self.deviation, -4.0, 8.0), np.float32)


class BrainSlices(PreparedSlices):
    """`brain-slices-v1`: axial slices of FLAIR, T1 before and after contrast, and FLAIR of the slices below and above.

    The grid is 192 x 160 pixels of 1.25 mm (240 x 200 mm) centred on the head. A missing T1 is replaced by FLAIR, as in
    the LGG data set. The neighbours lie about `NEIGHBOUR_MM` away, at least one slice; at the ends the slice itself is
    repeated.
    """

    channels = ("t1", "flair", "t1ce", "flair_below", "flair_above")
    HEIGHT, WIDTH, SPACING, NEIGHBOUR_MM = 192, 160, 1.25, 4.0

    def __init__(self, images: Mapping[str, NDArray[Any] | None], spacing: tuple[float, float, float]) -> None:
        """Takes `flair` and optionally `t1` and `t1ce`, each (slices, rows, columns) on the grid of the FLAIR."""
        flair = _required(images, "flair")
        given = {name: images.get(name) for name in self.channels[:3]}
        self._images = {name: _like(image, flair) for name, image in given.items() if image is not None}
        self._intensity = {name: Intensity.of(image) for name, image in self._images.items()}
        self._step = max(1, round(self.NEIGHBOUR_MM / spacing[0]))
        row, column = head_centre(flair)
        super().__init__(
            Axis(flair.shape[1], spacing[1], row, self.HEIGHT, self.SPACING),
            Axis(flair.shape[2], spacing[2], column, self.WIDTH, self.SPACING),
        )

    def __len__(self) -> int:
        return len(self._images["flair"])

    def inputs(self, start: int = 0, stop: int | None = None) -> Array:
        """See the base class; channels as in `channels`."""
        index = np.arange(start, len(self) if stop is None else min(stop, len(self)))
        below, above = (np.clip(index + step, 0, len(self) - 1) for step in (-self._step, self._step))
        wanted = np.unique(np.concatenate([below, index, above]))
        flair = self._planes("flair", wanted)
        inputs = np.empty((len(index), *self.shape), np.float32)
        for channel, slices in enumerate((index, index, index, below, above)):
            inputs[:, channel] = flair[np.searchsorted(wanted, slices)]
        for channel, name in ((0, "t1"), (2, "t1ce")):
            if name in self._images:
                inputs[:, channel] = self._planes(name, index)
        return inputs

    def _planes(self, name: str, index: NDArray[np.intp]) -> Array:
        intensity = self._intensity[name]
        air = np.float32(intensity.apply(np.zeros(1))[0])  # off the image there is air, not average brightness
        return _resample(intensity.apply(self._images[name][index]) - air, *self._forward) + air


class CTSlices(PreparedSlices):
    """`ct-slices-v1`: HU clipped to 0..255 and divided by 255, the whole field of view on 256 x 256 pixels."""

    channels = ("ct",)
    SIZE = 256

    def __init__(self, images: Mapping[str, NDArray[Any] | None], spacing: tuple[float, float, float]) -> None:
        """Takes `ct`, Hounsfield units, (slices, rows, columns)."""
        self._ct = _required(images, "ct")
        rows, columns = self._ct.shape[1:]
        longest = max(rows, columns)
        super().__init__(
            Axis(rows, 1.0, (rows - 1) / 2, self.SIZE, longest / self.SIZE),
            Axis(columns, 1.0, (columns - 1) / 2, self.SIZE, longest / self.SIZE),
        )

    def __len__(self) -> int:
        return len(self._ct)

    def inputs(self, start: int = 0, stop: int | None = None) -> Array:
        """See the base class; one channel."""
        window = np.clip(self._ct[start:stop], 0, 255).astype(np.float32) / np.float32(255)
        return _resample(window, *self._forward)[:, None]


def head_centre(flair: NDArray[Any]) -> tuple[float, float]:
    """Middle (row, column) of the head in the plane: half way between the 1 % and 99 % quantiles of bright pixels."""
    mask = flair > 0.7 * float(np.mean(flair, dtype=np.float64))
    return _middle(mask.sum(axis=(0, 2))), _middle(mask.sum(axis=(0, 1)))


def _middle(profile: NDArray[Any]) -> float:
    if profile.sum() == 0:
        return (len(profile) - 1) / 2
    share = np.cumsum(profile) / profile.sum()
    return float(np.searchsorted(share, 0.01) + np.searchsorted(share, 0.99)) / 2


def _required(images: Mapping[str, NDArray[Any] | None], name: str) -> NDArray[Any]:
    image = images.get(name)
    if image is None or image.ndim != 3:
        raise ValueError(
            f"expected {name!r} as (slices, rows, columns), received {None if image is None else image.shape}"
        )
    return image


def _like(image: NDArray[Any], flair: NDArray[Any]) -> NDArray[Any]:
    if image.shape != flair.shape:
        raise ValueError(f"expected a T1 on the FLAIR's grid {flair.shape}, received {image.shape}")
    return image


PrepareSlices = Callable[[Mapping[str, NDArray[Any] | None], tuple[float, float, float]], PreparedSlices]
PREPROCESSINGS: dict[str, PrepareSlices] = {"brain-slices-v1": BrainSlices, "ct-slices-v1": CTSlices}


def prepare(
    name: str, images: Mapping[str, NDArray[Any] | None], spacing: tuple[float, float, float]
) -> PreparedSlices:
    """Prepares a volume with the preprocessing that a model package names.

    Args:
        name: Key of `PREPROCESSINGS`.
        images: Channel name -> (slices, rows, columns) in standard axial orientation, or None where missing.
        spacing: (slice, row, column) in mm.

    Raises:
        ValueError: Unknown name, a required image is missing, or shapes differ.
    """
    if name not in PREPROCESSINGS:
        raise ValueError(f"expected one of {sorted(PREPROCESSINGS)}, received {name!r}")
    return PREPROCESSINGS[name](images, spacing)
