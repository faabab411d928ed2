"""OpenVINO on the processor: the fast engine where there is no GPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.cache import private_folder
from engines.contract import Arrays, BuildProgress, Engine, EngineDescription, EngineSettings
from engines.errors import BuildFailed, InferenceFailed, PrecisionMissing
from engines.libraries import import_openvino
from engines.machine import processor, usable_cores
from engines.package import ModelPackage

if TYPE_CHECKING:
    import openvino

# precision -> (variant of the network, OpenVINO's precision hint, capability that the processor must report)
PRECISIONS = {
    "fp32": ("fp32", "f32", "FP32"),
    "bf16": ("fp32", "bf16", "BF16"),
    "fp16": ("fp32", "f16", "FP16"),
    "int8": ("int8", "f32", "INT8"),
}
VOLUMETRIC = 5  # dimensions of (batch, channels, depth, height, width)


class OpenVinoEngine(Engine):
    """Feeds one sample at a time to as many streams as pay off.

    A network compiled for a fixed batch of one is faster than one for any batch (58 against 67 ms per eight slices of
    256x256 on two cores), takes the least memory, and several of them run side by side in OpenVINO's streams.
    """

    backend: ClassVar[str] = "openvino"
    _requests: list[openvino.InferRequest]

    def __init__(self, package: ModelPackage, settings: EngineSettings, progress: BuildProgress | None = None) -> None:
        super().__init__(package, settings, progress)
        self._turn = threading.Lock()

    @property
    def precision(self) -> str:
        """`auto` is bfloat16 where the processor computes in it, else FP32."""
        if self.settings.precision != "auto":
            return self.settings.precision
        return "bf16" if "bf16" in precisions() else "fp32"

    @property
    def piece(self) -> int:
        """The compiled batch; see the class."""
        return 1

    def _load(self) -> None:
        ov = import_openvino()
        if self.precision not in precisions():
            raise PrecisionMissing(self.backend, self.precision, "the processor does not compute in it")
        variant, _, _ = PRECISIONS[self.precision]
        network = self.package.network(variant)
        try:
            core = ov.Core()
            model = core.read_model(network)
            model.reshape({spec.name: _one_sample(spec.shape) for spec in self.package.manifest.inputs})
            compiled = core.compile_model(model, "CPU", self._options())
        except Exception as error:
            raise BuildFailed(self.backend, self.package.name, _last_line(error)) from error
        self._requests = [compiled.create_infer_request() for _ in range(self._streams)]

    def _unload(self) -> None:
        self._requests = []

    def _run(self, pieces: Sequence[tuple[Arrays, Arrays]]) -> None:
        # One caller at a time: it already keeps all streams busy, and a request belongs to one caller while it runs.
        with self._turn:
            try:
                self._in_turns(pieces)
            except Exception as error:
                self._settle()
                raise InferenceFailed(self.package.name, self.backend, _last_line(error)) from error

    def _in_turns(self, pieces: Sequence[tuple[Arrays, Arrays]]) -> None:
        lanes = len(self._requests)
        for number in range(len(pieces) + lanes):
            request = self._requests[number % lanes]
            if 0 <= number - lanes < len(pieces):
                request.wait()
                for name, result in pieces[number - lanes][1].items():
                    np.copyto(result, request.get_tensor(name).data)
            if number < len(pieces):
                feeds = {name: np.ascontiguousarray(array) for name, array in pieces[number][0].items()}
                request.start_async(feeds, share_inputs=True)

    def _settle(self) -> None:
        """Leaves no request running, so that the next call finds them all free."""
        for request in self._requests:
            request.cancel()
            try:
                request.wait()
            except RuntimeError:  # the cancellation itself
                continue

    def _describe(self) -> EngineDescription:
        version = import_openvino().__version__.split("-")[0]
        return EngineDescription(self.backend, version, self.precision, processor())

    @property
    def _threads(self) -> int:
        return self.settings.threads or usable_cores()

    @property
    def _streams(self) -> int:
        """Slices are small: one thread each. Volumes take memory in every stream: four threads share one."""
        volumetric = any(len(spec.shape) >= VOLUMETRIC for spec in self.package.manifest.inputs)
        return max(1, self._threads // 4) if volumetric else min(self._threads, 16)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[self.precision][1],
            "PERFORMANCE_HINT": "THROUGHPUT" if self._streams > 1 else "LATENCY",
            "NUM_STREAMS": self._streams,
            "INFERENCE_NUM_THREADS": self._threads,
            # Pinned threads of two workers would be pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        if self.settings.cache_dir is not None:
            options["CACHE_DIR"] = str(private_folder(self.settings.cache_dir, "openvino"))
        return options


@cache
def precisions() -> tuple[str, ...]:
    """The precisions that OpenVINO computes in natively on this processor."""
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(name for name, (_, _, capability) in PRECISIONS.items() if capability in capabilities)


def _one_sample(shape: tuple[int | str, ...]) -> list[int]:
    return [1, *(size if isinstance(size, int) else -1 for size in shape[1:])]


def _last_line(error: Exception) -> str:
    """OpenVINO puts its own source files first and the reason last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
