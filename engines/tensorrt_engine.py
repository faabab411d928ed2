"""TensorRT on an NVIDIA GPU: plans from the cache, PyCUDA for everything that moves."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

import numpy as np
import structlog

from engines.contract import Arrays, BuildProgress, Engine, EngineDescription, EngineSettings
from engines.errors import (
    BuildFailed,
    DeviceFull,
    DeviceLost,
    EngineRefused,
    InferenceFailed,
    OutOfDeviceMemory,
    PlanUnusable,
)
from engines.gpu import Gpu, Hung, Pipeline, Tensor
from engines.libraries import import_tensorrt
from engines.package import ModelPackage
from engines.plans import Built, PlanKey, PlanStore
from engines.tensorrt_build import build, logger, network_for, profiles

log = structlog.get_logger(__name__)


@dataclass
class _Loaded:
    """What lives on the GPU; `memory` is the scratch space of the context."""

    plan: Any
    context: Any
    memory: Any
    pipeline: Pipeline
    batch: int = 0  # the batch that the context is set to


class TensorRtEngine(Engine):
    """FP32 (TensorFloat-32 where the GPU has it), or the package's FP16 or INT8 variant.

    Opening builds the plan if the cache has none, which takes minutes: do it before a worker takes jobs. When the GPU
    has too little free memory for `max_batch`, the engine takes half of it, down to one, before it is refused.
    """

    backend: ClassVar[str] = "tensorrt"
    time_limit: ClassVar[float] = 60.0  # seconds for one piece; the slowest network that we know takes half a second

    def __init__(self, package: ModelPackage, settings: EngineSettings, progress: BuildProgress | None = None) -> None:
        super().__init__(package, settings, progress)
        self._turn = threading.Lock()
        self._gpu: Gpu | None = None
        self._runtime: Any = None
        self._loaded: _Loaded | None = None
        self._piece = 0

    @property
    def precision(self) -> str:
        """`auto` is FP16 where the package brings it, else FP32."""
        if self.settings.precision != "auto":
            return self.settings.precision
        return "fp16" if "fp16" in self.package.manifest.variants else "fp32"

    @property
    def piece(self) -> int:
        """Largest batch that fits, at most `max_batch`."""
        return self._piece or super().piece

    @property
    def ready(self) -> bool:
        """Whether a plan is stored for this GPU."""
        store = self._store()
        if store is None:
            return False
        try:
            gpu = Gpu(self.settings.gpu)
        except EngineRefused:
            return False
        try:
            return store.has(self._key(gpu))
        except EngineRefused:
            return False
        finally:
            gpu.release()

    def _load(self) -> None:
        import_tensorrt()
        network_for(self.package, self.precision)
        self._gpu = Gpu(self.settings.gpu)
        try:
            with self._gpu.entered():
                self._loaded = self._fit(self._deserialize(self._gpu), self._gpu)
        except BaseException:
            self._release()
            raise

    def _unload(self) -> None:
        gpu = self._gpu
        if gpu is not None:
            try:
                with gpu.entered():
                    self._free()
                self._release()
            except gpu.cuda.Error as error:  # a lost device frees nothing; the process is about to be replaced
                log.warning("gpu_not_released", package=self.package.name, reason=str(error))
                self._gpu = None

    def _run(self, pieces: Sequence[tuple[Arrays, Arrays]]) -> None:
        gpu, loaded = self._gpu, self._loaded
        if gpu is None or loaded is None:
            raise InferenceFailed(self.package.name, self.backend, "it is not loaded")
        with self._turn, gpu.entered():
            try:
                loaded.pipeline.run(pieces, self._launch)
            except BaseException as error:
                loaded.pipeline.forget()
                raise self._explained(error, gpu.cuda) from error

    def _describe(self) -> EngineDescription:
        trt = import_tensorrt()
        device = str(self._gpu) if self._gpu else f"GPU {self.settings.gpu}"
        plan = self._key(self._gpu).file if self._gpu else None
        return EngineDescription(self.backend, trt.__version__, self.precision, device, plan)

    def _store(self) -> PlanStore | None:
        return PlanStore(self.settings.cache_dir) if self.settings.cache_dir else None

    def _key(self, gpu: Gpu) -> PlanKey:
        return PlanKey(
            package=self.package.name,
            network=self.package.network_digest(self.precision),
            library=f"tensorrt {import_tensorrt().__version__}",
            device=f"{gpu.name}, compute capability {gpu.capability}",
            precision=self.precision,
            options=tuple(astuple(shape) for shape in profiles(self.package, super().piece)),
        )

    def _deserialize(self, gpu: Gpu) -> Any:
        """The plan as an engine of TensorRT."""
        store = self._store()
        if store is None:
            return self._read(self._build(b"").plan)
        return store.load(self._key(gpu), self._build, self._read)

    def _build(self, timing: bytes) -> Built:
        shapes = profiles(self.package, super().piece)
        return build(self.package, self.precision, shapes, timing, self._progress)

    def _read(self, plan: bytes) -> Any:
        trt, voice = import_tensorrt(), logger()
        with voice.listening() as said:
            if self._runtime is None:
                self._runtime = trt.Runtime(voice.channel)  # kept: a plan is of no use after its runtime is gone
            engine = self._runtime.deserialize_cuda_engine(plan)
            if engine is None:
                folder = self.settings.cache_dir or self.package.folder
                raise PlanUnusable(folder, "refused by TensorRT: " + ("; ".join(said) or "no reason given"))
            return engine

    def _fit(self, plan: Any, gpu: Gpu) -> _Loaded:
        """Takes the buffers for the largest batch that fits."""
        batch = super().piece
        while True:
            try:
                loaded = self._allocate_for(plan, gpu, batch)
            except gpu.cuda.MemoryError as error:
                if batch == 1:
                    reason = f"{gpu.free_bytes() >> 20} MiB are free"
                    raise DeviceFull(self.backend, self.package.name, gpu.name, reason) from error
                log.warning("gpu_memory_short", package=self.package.name, batch=batch, free=gpu.free_bytes())
                batch //= 2
            else:
                self._piece = batch
                return loaded

    def _allocate_for(self, plan: Any, gpu: Gpu, batch: int) -> _Loaded:
        """Scratch space and copy buffers of a batch; nothing is kept when either does not fit."""
        trt = import_tensorrt()
        context = plan.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise BuildFailed(self.backend, self.package.name, "TensorRT makes no execution context of the plan")
        for spec in self.package.manifest.inputs:
            context.set_input_shape(spec.name, (batch, *spec.shape[1:]))
        scratch = max(int(context.update_device_memory_size_for_shapes()), 1)
        memory = gpu.cuda.mem_alloc(scratch)
        try:
            if hasattr(context, "set_device_memory"):
                context.set_device_memory(int(memory), scratch)
            else:  # TensorRT 10.0
                context.device_memory = int(memory)
            inputs = [self._tensor(plan, context, spec.name) for spec in self.package.manifest.inputs]
            outputs = [self._tensor(plan, context, spec.name) for spec in self.package.manifest.outputs]
            pipeline = Pipeline(gpu, inputs, outputs, time_limit=self.time_limit)
        except BaseException:
            memory.free()
            raise
        return _Loaded(plan, context, memory, pipeline, batch)

    def _tensor(self, plan: Any, context: Any, name: str) -> Tensor:
        trt = import_tensorrt()
        dtype = np.dtype(trt.nptype(plan.get_tensor_dtype(name)))
        return Tensor(name, tuple(context.get_tensor_shape(name)), dtype)

    def _launch(self, addresses: Mapping[str, int], batch: int, stream: int) -> None:
        loaded = self._loaded
        if loaded is None:
            raise InferenceFailed(self.package.name, self.backend, "it is not loaded")
        context = loaded.context
        if batch != loaded.batch:
            for spec in self.package.manifest.inputs:
                context.set_input_shape(spec.name, (batch, *spec.shape[1:]))
            loaded.batch = batch
        for name, address in addresses.items():
            context.set_tensor_address(name, address)
        if not context.execute_async_v3(stream):
            raise InferenceFailed(self.package.name, self.backend, "TensorRT refused to start the computation")

    def _explained(self, error: BaseException, cuda: Any) -> BaseException:
        """CUDA's errors by consequence: after anything but a lack of memory, the context is of no more use."""
        name = self.package.name
        if isinstance(error, Hung):
            return DeviceLost(name, self.backend, f"a piece took more than {self.time_limit:.0f} s")
        if isinstance(error, cuda.MemoryError):
            return OutOfDeviceMemory(name, self.backend, str(error))
        if isinstance(error, cuda.Error):
            return DeviceLost(name, self.backend, str(error))
        return error

    def _free(self) -> None:
        """In this order: TensorRT wants its objects gone before the memory that they were given."""
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.context = None
            loaded.plan = None
            loaded.pipeline.free()
            loaded.memory.free()

    def _release(self) -> None:
        gpu, self._gpu, self._runtime, self._piece = self._gpu, None, None, 0
        if gpu is not None:
            gpu.release()
