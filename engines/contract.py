"""The engine contract: a context manager that turns arrays into arrays, whatever runs underneath."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engines.errors import EngineNotOpen, NotFinite, PrecisionMissing, WrongDtype, WrongNames, WrongShape, WrongValues
from engines.packages.manifest import shape_fits
from engines.packages.package import ModelPackage

Arrays = dict[str, np.ndarray]
BuildProgress = Callable[[str, float], None]
"""Called with the phase of a build and the share that is done, 0 to 1; called from any thread."""

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Backend = Literal["auto", "tensorrt", "openvino", "onnxruntime"]


PIECE_BYTES = 64 << 20
"""Inputs that go to a device at once; activations are tens of times as large. One whole brain of 1 mm is more."""


class EngineSettings(BaseModel):
    """What the configuration may say about engines.

    Attributes:
        backend: `auto` takes the first that passes the gate: TensorRT, OpenVINO, ONNX Runtime.
        precision: `auto` takes the fastest that passes the gate; a fixed one is refused when it does not.
        threads: Processor threads for inference; None means every core this process may use.
        cache_dir: Folder for compiled networks, plans and gate results (0700); None keeps nothing.
        max_batch: Larger batches are cut into pieces of this size, so that memory does not grow with the series.
        gpu: Which GPU, counted as CUDA counts them (after CUDA_VISIBLE_DEVICES).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Backend = "auto"
    precision: Precision = "auto"
    threads: int | None = Field(default=None, ge=1)
    cache_dir: Path | None = None
    max_batch: int = Field(default=8, ge=1)
    gpu: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class GateFigures:
    """How near the engine came to ONNX Runtime FP32 on the package's reference inputs (engines/gate.py)."""

    dice: float | None
    max_difference: float
    outliers: float
    cached: bool = False

    def __str__(self) -> str:
        dice = "" if self.dice is None else f"Dice {self.dice:.4f}, "
        return f"{dice}largest difference {self.max_difference:.4f}"


@dataclass(frozen=True)
class EngineDescription:
    """What answered: goes into the job's record.

    Attributes:
        plan: File name of the TensorRT plan, if there is one.
        gate: Figures of the admission gate; None before it ran, and for the reference itself.
        passed_over: Engines that were tried before this one, each with the reason why it was refused.
    """

    backend: str
    version: str
    precision: str
    device: str
    plan: str | None = None
    gate: GateFigures | None = None
    passed_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        plan = f", plan {self.plan}" if self.plan else ""
        gate = f", gate: {self.gate}" if self.gate else ""
        return f"{self.backend} {self.version} {self.precision} on {self.device}{plan}{gate}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)


class Engine(ABC):
    """`with engine: engine.infer(feeds)`. Constructing one touches no device and loads nothing.

    Safe to use from several threads. Closing waits for the calls that are under way; an engine may be opened again.
    A subclass says how to load, how to run pieces of at most `max_batch`, and how to let go.
    """

    backend: ClassVar[str]

    def __init__(self, package: ModelPackage, settings: EngineSettings, progress: BuildProgress | None = None) -> None:
        self.package = package
        self.settings = settings
        self._progress = progress
        self._gate: GateFigures | None = None
        self._state = threading.Condition()
        self._open = False
        self._running = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.package.name}, {'open' if self._open else 'closed'})"

    @property
    def description(self) -> EngineDescription:
        """Backend, version, precision and device, with the gate's figures once it has passed."""
        return replace(self._describe(), gate=self._gate)

    def accept(self, figures: GateFigures) -> None:
        """Records that the admission gate let this engine serve."""
        self._gate = figures

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Loads the network; once is enough, again does nothing.

        Raises:
            EngineRefused: This engine cannot serve this package on this machine.
        """
        with self._state:
            if not self._open:
                self._load()
                self._open = True

    def close(self) -> None:
        """Frees everything, after the calls under way have ended; again does nothing."""
        with self._state:
            self._state.wait_for(lambda: self._running == 0)
            if self._open:
                self._open = False
                self._unload()

    def infer(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """Runs the network.

        Args:
            feeds: One array per input by name, (batch, ...) as the package says; any batch from 0 up.

        Returns:
            One array per output by name, (batch, ...), owned by the caller: later calls never change it.

        Raises:
            BadFeeds: Names, dtype or shape are not what the package says, or a value is not finite.
            EngineNotOpen: Outside of `with engine:`.
            InferenceFailed: The engine broke.
        """
        with self._in_use():
            dims = self._check(feeds)
            batch = dims.pop("batch")
            results = self._allocate(batch, dims)
            pieces = [
                (
                    {name: array[at : at + self.piece] for name, array in feeds.items()},
                    {name: array[at : at + self.piece] for name, array in results.items()},
                )
                for at in range(0, batch, self.piece)
            ]
            if pieces:
                self._run(pieces)
            self._refuse_nonsense(results)
            return results

    @property
    def piece(self) -> int:
        """Largest batch that the backend sees; 1 for single samples, or for large volumes."""
        specs = self.package.manifest.inputs
        if any(spec.shape[0] != "batch" for spec in specs):
            return 1
        sizes = [[size for size in spec.shape[1:] if isinstance(size, int)] for spec in specs]
        sample = sum(prod(size) * np.dtype(spec.dtype).itemsize for size, spec in zip(sizes, specs, strict=True))
        return max(1, min(self.settings.max_batch, PIECE_BYTES // sample))

    @property
    def builds(self) -> bool:
        """Whether opening would build a plan first, which takes minutes and is no part of a job; a refusal is quick."""
        return False

    def prepare(self) -> None:  # noqa: B027 - most engines have nothing to prepare
        """Builds what opening would have to build, and keeps it; nothing where nothing can be kept.

        Raises:
            EngineRefused: It cannot be built here.
        """

    @abstractmethod
    def _load(self) -> None:
        """Loads the network onto the device; raises EngineRefused and leaves nothing behind when it cannot."""

    @abstractmethod
    def _unload(self) -> None:
        """Frees what `_load` took."""

    @abstractmethod
    def _run(self, pieces: Sequence[tuple[Arrays, Arrays]]) -> None:
        """Runs each piece's feeds and writes into its results (views of the arrays that the caller gets)."""

    @abstractmethod
    def _describe(self) -> EngineDescription:
        """What this engine is, known without loading where possible."""

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._state:
            if not self._open:
                raise EngineNotOpen(package=self.package.name, backend=self.backend)
            self._running += 1
        try:
            yield
        finally:
            with self._state:
                self._running -= 1
                self._state.notify_all()

    def _check(self, feeds: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Checks every feed, and returns the size of the dimensions that have names."""
        specs = self.package.manifest.inputs
        expected = [spec.name for spec in specs]
        if sorted(feeds) != sorted(expected):
            raise WrongNames(package=self.package.name, expected=expected, received=sorted(feeds))
        dims: dict[str, int] = {}
        for spec in specs:
            array = feeds[spec.name]
            if array.dtype != np.dtype(spec.dtype):
                raise WrongDtype(
                    package=self.package.name, name=spec.name, expected=spec.dtype, received=str(array.dtype)
                )
            wanted = ("batch", *spec.shape[1:])
            named = {key: size for key, size in zip(wanted, array.shape, strict=False) if isinstance(key, str)}
            if not shape_fits(array.shape, spec.shape) or any(dims.get(k, v) != v for k, v in named.items()):
                expected_shape = tuple(dims.get(key, key) if isinstance(key, str) else key for key in wanted)
                raise WrongShape(
                    package=self.package.name,
                    name=spec.name,
                    expected=_readable(expected_shape),
                    received=_readable(array.shape),
                )
            if not _finite(array):
                raise WrongValues(package=self.package.name, name=spec.name)
            dims |= named
        return dims

    def _refuse_nonsense(self, results: Arrays) -> None:
        """A mask drawn from NaN is empty, and would be reported as "no tumour"."""
        for name, array in results.items():
            if not _finite(array):
                raise NotFinite(package=self.package.name, backend=self.backend, reason=f"output {name}")

    def _allocate(self, batch: int, dims: Mapping[str, int]) -> Arrays:
        return {
            spec.name: np.empty(
                (batch, *(dims[key] if isinstance(key, str) else key for key in spec.shape[1:])), spec.dtype
            )
            for spec in self.package.manifest.outputs
        }


def require_network(backend: str, package: ModelPackage, variant: str) -> bytes:
    """The file that a backend builds from: ONNX, but for `Variant.format`.

    Raises:
        PrecisionMissing: The package does not bring it, or not for this backend.
    """
    require_variant(backend, package, variant)
    return package.network(variant)


def require_variant(backend: str, package: ModelPackage, variant: str) -> None:
    """As `require_network`, without reading the file."""
    if variant != "fp32":
        brought = package.variant(variant)
        if brought is None:
            raise PrecisionMissing(
                backend=backend, precision=variant, reason=f"{package.name} brings no {variant} variant"
            )
        if not brought.suits(backend):
            raise PrecisionMissing(
                backend=backend,
                precision=variant,
                reason=f"that variant of {package.name} is for {brought.format} only",
            )


def _finite(array: np.ndarray) -> bool:
    """One pass without a temporary array: NaN and infinity survive a sum; only sums of 1e30s could deceive it."""
    if array.dtype.kind != "f" or array.size == 0:
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum(dtype=np.float64 if array.dtype == np.float16 else array.dtype)
    return bool(np.isfinite(total)) or bool(np.isfinite(array).all())


def _readable(shape: tuple[int | str, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
