"""OpenVINO on the processor: the fast engine where there is no GPU."""

from __future__ import annotations

import io
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.backends.openvino.rewrites import REWRITES, rewrite
from engines.backends.openvino.saturation import narrow_weights
from engines.contract import (
    Arrays,
    BuildProgress,
    Engine,
    EngineDescription,
    EngineSettings,
    require_network,
    require_variant,
)
from engines.errors import BuildFailed, InferenceFailed, PlanUnusable, PrecisionMissing
from engines.libraries import import_openvino
from engines.machine import processor, this_processor, usable_cores
from engines.packages.package import ModelPackage
from engines.plans import Built, PlanKey, PlanStore

if TYPE_CHECKING:
    import openvino

# precision -> (variant of the network, OpenVINO's precision hint, capability that the processor must report)
PRECISIONS = {
    "fp32": ("fp32", "f32", "FP32"),
    "bf16": ("fp32", "bf16", "BF16"),
    "fp16": ("fp32", "f16", "FP16"),
    "int8": ("int8", "f32", "INT8"),
}


PARTS = ("model.xml", "model.bin")
"""What a variant in OpenVINO's own form holds."""


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
        if self.precision not in precisions():
            raise PrecisionMissing(
                backend=self.backend, precision=self.precision, reason="the processor does not compute in it"
            )
        require_variant(self.backend, self.package, self._variant)
        compiled = self._compiled()
        self._requests = [compiled.create_infer_request() for _ in range(self._streams)]

    def _unload(self) -> None:
        self._requests = []

    def _compiled(self) -> openvino.CompiledModel:
        """From the plan cache where there is one: a third of the time, and OpenVINO's compiler is not started."""
        if self.settings.cache_dir is None:
            return self._compile()
        store = PlanStore(self.settings.cache_dir)
        return store.load(self._key(), lambda _: Built(self._compile().export_model().getvalue()), self._read)

    def _compile(self) -> openvino.CompiledModel:
        network = require_network(self.backend, self.package, self._variant)
        try:
            core = import_openvino().Core()
            model = core.read_model(*(_parts(network) if self._own_form else (network,)))
            model.reshape({spec.name: _one_sample(spec.shape) for spec in self.package.manifest.inputs})
            self._rewrite(model)
            return core.compile_model(model, "CPU", self._options())
        except Exception as error:
            raise BuildFailed(backend=self.backend, package=self.package.name, reason=_last_line(error)) from error

    def _rewrite(self, model: openvino.Model) -> None:
        rewrite(model)
        if self._variant == "int8" and this_processor().saturates:
            narrow_weights(model)

    def _read(self, plan: bytes) -> openvino.CompiledModel:
        try:
            return import_openvino().Core().import_model(plan, "CPU", self._options())
        except Exception as error:
            raise PlanUnusable(path=self.package.folder, problem=f"refused by OpenVINO: {_last_line(error)}") from error

    def _key(self) -> PlanKey:
        return PlanKey(
            package=self.package.name,
            network=self.package.network_digest(self._variant),
            library=f"openvino {import_openvino().__version__}",
            device=processor(),
            precision=self.precision,
            options=(
                *((spec.name, *_one_sample(spec.shape)) for spec in self.package.manifest.inputs),
                *sorted(self._options().items()),
                ("rewrites", REWRITES),
            ),
        )

    def _run(self, pieces: Sequence[tuple[Arrays, Arrays]]) -> None:
        # One caller at a time: it already keeps all streams busy, and a request belongs to one caller while it runs.
        with self._turn:
            try:
                self._in_turns(pieces)
            except Exception as error:
                self._settle()
                raise InferenceFailed(
                    package=self.package.name, backend=self.backend, reason=_last_line(error)
                ) from error

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
    def _variant(self) -> str:
        return PRECISIONS[self.precision][0]

    @property
    def _own_form(self) -> bool:
        variant = self.package.variant(self._variant)
        return variant is not None and variant.format == self.backend

    @property
    def _threads(self) -> int:
        return self.settings.threads or usable_cores()

    @property
    def _streams(self) -> int:
        """Slices are small: one thread each. Volumes take memory in every stream: four threads share one."""
        volumetric = any(spec.volumetric for spec in self.package.manifest.inputs)
        return max(1, self._threads // 4) if volumetric else min(self._threads, 16)

    @property
    def _hint(self) -> str:
        """What a quantised network leaves in floating point is computed as fast as the processor can."""
        return PRECISIONS["bf16" if self.precision == "int8" and "bf16" in precisions() else self.precision][1]

    def _options(self) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": self._hint,
            "PERFORMANCE_HINT": "THROUGHPUT" if self._streams > 1 else "LATENCY",
            "NUM_STREAMS": self._streams,
            "INFERENCE_NUM_THREADS": self._threads,
            # Pinned threads of two workers would be pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        }


@cache
def precisions() -> tuple[str, ...]:
    """The precisions that OpenVINO computes in natively on this processor."""
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(name for name, (_, _, capability) in PRECISIONS.items() if capability in capabilities)


def packed(model: openvino.Model) -> bytes:
    """A network in OpenVINO's own form, as a variant of `format: openvino` holds it."""
    with tempfile.TemporaryDirectory() as folder:
        import_openvino().save_model(model, Path(folder) / PARTS[0], compress_to_fp16=False)
        contents = [(Path(folder) / name).read_bytes() for name in PARTS]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in zip(PARTS, contents, strict=True):
            # LZMA looks back far enough to keep weights once that a network asks at several sizes
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_LZMA)
    return out.getvalue()


def _parts(network: bytes) -> tuple[bytes, ...]:
    """Of what `packed` made."""
    with zipfile.ZipFile(io.BytesIO(network)) as archive:
        return tuple(archive.read(name) for name in PARTS)


def _one_sample(shape: tuple[int | str, ...]) -> list[int]:
    return [1, *(size if isinstance(size, int) else -1 for size in shape[1:])]


def _last_line(error: Exception) -> str:
    """OpenVINO puts its own source files first and the reason last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
