"""ONNX Runtime on the processor: the portable engine, and in FP32 the reference for all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from engines.contract import Arrays, Engine, EngineDescription, require_network
from engines.errors import BuildFailed, InferenceFailed, PackageInvalid, PrecisionMissing
from engines.libraries import import_onnxruntime
from engines.machine import processor, usable_cores
from engines.packages.manifest import InputSpec, OutputSpec
from engines.packages.package import NETWORK

if TYPE_CHECKING:
    import onnxruntime

# ONNX Runtime names tensor types as C++ would
DTYPES = {
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "int64": "tensor(int64)",
    "int32": "tensor(int32)",
    "uint8": "tensor(uint8)",
}


class OnnxRuntimeEngine(Engine):
    """FP32, or the package's INT8 variant."""

    backend: ClassVar[str] = "onnxruntime"
    _session: onnxruntime.InferenceSession

    @property
    def precision(self) -> str:
        """`auto` is FP32: this engine is what the others are held against."""
        return "fp32" if self.settings.precision == "auto" else self.settings.precision

    def _load(self) -> None:
        onnxruntime = import_onnxruntime()
        if self.precision not in ("fp32", "int8"):
            raise PrecisionMissing(
                backend=self.backend, precision=self.precision, reason="it computes in fp32 or int8 on a processor"
            )
        network = require_network(self.backend, self.package, self.precision)
        try:
            session = onnxruntime.InferenceSession(
                network, self._options(onnxruntime), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # it raises a dozen types, which share no base but this
            raise BuildFailed(backend=self.backend, package=self.package.name, reason=_first_line(error)) from error
        self._check_signature(session)
        self._session = session

    def _unload(self) -> None:
        del self._session

    def _run(self, pieces: Sequence[tuple[Arrays, Arrays]]) -> None:
        for feeds, results in pieces:
            try:
                outputs = self._session.run(list(results), feeds)
            except Exception as error:
                raise InferenceFailed(
                    package=self.package.name, backend=self.backend, reason=_first_line(error)
                ) from error
            for name, output in zip(results, outputs, strict=True):
                np.copyto(results[name], output)

    def _describe(self) -> EngineDescription:
        return EngineDescription(self.backend, import_onnxruntime().__version__, self.precision, processor())

    def _options(self, onnxruntime: Any) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.settings.threads or usable_cores()
        options.log_severity_level = 3
        # Threads that spin while they wait take the cores from whoever else works here: measured 64 against 39 ms
        # per image beside one busy process.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def _check_signature(self, session: onnxruntime.InferenceSession) -> None:
        """The network must be what model.yaml says it is; every other engine relies on this check."""
        manifest = self.package.manifest
        sides: tuple[tuple[str, Any, tuple[InputSpec, ...] | tuple[OutputSpec, ...]], ...] = (
            ("inputs", session.get_inputs(), manifest.inputs),
            ("outputs", session.get_outputs(), manifest.outputs),
        )
        for key, actual, stated in sides:
            found = {tensor.name: tensor for tensor in actual}
            wanted = {spec.name: spec for spec in stated}
            if found.keys() != wanted.keys():
                self._reject(key, f"model.yaml names {sorted(wanted)}, the network has {sorted(found)}")
            for name, spec in wanted.items():
                if found[name].type != DTYPES[spec.dtype]:
                    self._reject(f"{key}.{name}", f"model.yaml says {spec.dtype}, the network {found[name].type}")
                if not _shapes_agree(spec.shape, found[name].shape):
                    self._reject(f"{key}.{name}", f"model.yaml says {spec.shape}, the network {found[name].shape}")

    def _reject(self, key: str, problem: str) -> None:
        raise PackageInvalid(file=self.package.folder / NETWORK, key=key, problem=problem)


def _shapes_agree(stated: tuple[int | str, ...], actual: list[int | str | None]) -> bool:
    """A number in the network must be the number in model.yaml; a free dimension there may be anything here."""
    return len(stated) == len(actual) and all(
        want == have for want, have in zip(stated, actual, strict=True) if isinstance(have, int)
    )


def _first_line(error: Exception) -> str:
    if "model_path must not be empty" in str(error):
        return "its weights lie in another file, which no digest covers; they must be inside model.onnx"
    return (str(error).strip() or type(error).__name__).splitlines()[0]
