"""TensorRT on an NVIDIA GPU: plans from the cache, PyCUDA for everything that moves."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, ClassVar

import structlog

from engines.backends.tensorrt.build import build, logger, network_digest, network_for, offers, profiles, require
from engines.backends.tensorrt.cuda_graphs import GraphFailed
from engines.backends.tensorrt.gpu import Gpu, Hung
from engines.backends.tensorrt.plan_contexts import PlanContexts
from engines.contract import Arrays, BuildProgress, Engine, EngineDescription, EngineSettings
from engines.errors import (
    DeviceFull,
    DeviceLost,
    DeviceMissing,
    EngineRefused,
    InferenceFailed,
    OutOfDeviceMemory,
    PlanUnusable,
)
from engines.libraries import import_tensorrt
from engines.packages.package import ModelPackage
from engines.plans import Built, PlanKey, PlanStore

log = structlog.get_logger(__name__)

# What lies on a GPU that does not answer. Giving memory back waits for the kernels that use it, for ever perhaps, and
# so would Python's garbage collection: it is kept until the process is replaced.
_ABANDONED: list[object] = []


class TensorRtEngine(Engine):
    """FP32 (TensorFloat-32 where the GPU has it), FP16, or INT8: a variant of the package, or made by its calibration.

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
        self._running_plan: PlanContexts | None = None
        self._piece = 0
        self._lost = False

    @property
    def precision(self) -> str:
        """`auto` is FP16 where there is a network in it, else FP32."""
        if self.settings.precision != "auto":
            return self.settings.precision
        return "fp16" if offers(self.package, "fp16") else "fp32"

    @property
    def piece(self) -> int:
        """Largest batch that fits, at most `max_batch`."""
        return self._piece or super().piece

    @property
    def builds(self) -> bool:
        """Whether this GPU could serve, and no plan is stored for it."""
        try:
            import_tensorrt()
            require(self.package, self.precision)
            gpu = Gpu(self.settings.gpu)
        except EngineRefused:
            return False
        try:
            store = self._store()
            if store is not None and store.has(self._key(gpu)):
                return False
            network_for(self.package, self.precision)  # one that cannot be converted to FP16 is not built either
        except EngineRefused:
            return False
        else:
            return True
        finally:
            gpu.release()

    def prepare(self) -> None:
        """Builds the plan, if none is stored."""
        store = self._store()
        if store is None:
            return
        gpu = Gpu(self.settings.gpu)
        try:
            with gpu.entered():
                store.obtain(self._key(gpu), self._build)
        finally:
            gpu.release()

    def _load(self) -> None:
        import_tensorrt()
        require(self.package, self.precision)
        self._lost = False
        self._gpu = Gpu(self.settings.gpu)
        try:
            with self._gpu.entered():
                self._running_plan = self._fit(self._deserialize(self._gpu), self._gpu)
                self._warm_up(self._running_plan, self._gpu)
        except BaseException:
            self._unload()
            raise

    def _unload(self) -> None:
        gpu, running = self._gpu, self._running_plan
        self._gpu, self._running_plan, self._runtime, self._piece = None, None, None, 0
        if gpu is None:
            return
        if self._lost:
            _ABANDONED.append((gpu, running))
            log.warning("gpu_not_released", package=self.package.name, gpu=gpu.name)
            return
        try:
            if running is not None:
                with gpu.entered():
                    running.free()
            gpu.release()
        except (gpu.cuda.Error, GraphFailed) as error:  # it was lost meanwhile, unnoticed
            log.warning("gpu_not_released", package=self.package.name, gpu=gpu.name, reason=str(error))

    def _run(self, pieces: Sequence[tuple[Arrays, Arrays]]) -> None:
        gpu, running = self._gpu, self._running_plan
        if gpu is None or running is None:
            raise InferenceFailed(package=self.package.name, backend=self.backend, reason="it is not loaded")
        if self._lost:
            raise DeviceLost(package=self.package.name, backend=self.backend, reason="it was lost in an earlier call")
        with self._turn, gpu.entered():
            try:
                running.run(pieces)
            except BaseException as error:
                running.forget()
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
            network=network_digest(self.package, self.precision),
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
        trt, tensorrt_log = import_tensorrt(), logger()
        with tensorrt_log.listening() as said:
            if self._runtime is None:
                self._runtime = trt.Runtime(tensorrt_log.channel)  # kept: a plan is of no use after its runtime is gone
            engine = self._runtime.deserialize_cuda_engine(plan)
            if engine is None:
                folder = self.settings.cache_dir or self.package.folder
                raise PlanUnusable(
                    path=folder, problem="refused by TensorRT: " + ("; ".join(said) or "no reason given")
                )
            return engine

    def _fit(self, plan: Any, gpu: Gpu) -> PlanContexts:
        """Takes the buffers for the largest batch that fits."""
        batch = super().piece
        while True:
            try:
                running = PlanContexts(plan, gpu, self.package, batch, time_limit=self.time_limit)
            except gpu.cuda.MemoryError as error:
                if batch == 1:
                    reason = f"{gpu.free_bytes() >> 20} MiB are free"
                    raise DeviceFull(
                        backend=self.backend, package=self.package.name, device=gpu.name, reason=reason
                    ) from error
                log.warning("gpu_memory_short", package=self.package.name, batch=batch, free=gpu.free_bytes())
                batch //= 2
            else:
                self._piece = batch
                return running

    def _warm_up(self, running: PlanContexts, gpu: Gpu) -> None:
        """A device that breaks already here is refused like one that is not there."""
        try:
            running.warm_up()
        except (gpu.cuda.Error, GraphFailed, Hung) as error:
            running.forget()
            explained = self._explained(error, gpu.cuda)
            if isinstance(explained, OutOfDeviceMemory):
                raise DeviceFull(
                    backend=self.backend, package=self.package.name, device=gpu.name, reason=explained.reason
                ) from error
            raise DeviceMissing(
                backend=self.backend, reason=f"{gpu.name} broke at its first piece ({explained})"
            ) from error

    def _explained(self, error: BaseException, cuda: Any) -> BaseException:
        """CUDA's errors by consequence: after anything but a lack of memory, the context is of no more use."""
        name = self.package.name
        if isinstance(error, cuda.MemoryError):
            return OutOfDeviceMemory(package=name, backend=self.backend, reason=str(error))
        if isinstance(error, Hung | GraphFailed | cuda.Error):
            self._lost = True
            slow = f"a piece took more than {self.time_limit:g} s"
            return DeviceLost(
                package=name, backend=self.backend, reason=slow if isinstance(error, Hung) else str(error)
            )
        return error
