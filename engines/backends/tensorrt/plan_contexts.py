"""A plan that runs on a GPU: its contexts, the memory that they share, and the fastest way to start a full batch.

A context keeps state of the shape that it was last given, and a CUDA graph that was recorded from it relies on that
state. So each slot has a context of its own, whose shape and addresses are set once, and what is no full batch goes
through another one (TensorRT's guide says so under "CUDA graphs"). They compute one after the other, in one stream, and
share their scratch space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import structlog

from engines.backends.tensorrt.build import logger
from engines.backends.tensorrt.cuda_graphs import Graph, GraphFailed
from engines.backends.tensorrt.gpu import SLOTS, Gpu, Hung, Tensor, TransferPipeline
from engines.contract import Arrays
from engines.errors import BuildFailed, InferenceFailed, OutOfDeviceMemory
from engines.libraries import import_tensorrt
from engines.packages.package import ModelPackage

log = structlog.get_logger(__name__)

BACKEND = "tensorrt"
GAIN = 0.98  # of the time without: what replay must stay below to be worth its memory
LONG = 20e-3  # seconds; launching a piece that takes longer is no part of its time worth speaking of


class PlanContexts:
    """Everything that a plan needs on the GPU for pieces of at most `batch`. The context must be entered throughout.

    Args:
        plan: TensorRT's engine.
        gpu: Where.
        package: Names and shapes.
        batch: Largest piece.
        time_limit: Seconds that a piece may take.

    Raises:
        pycuda.driver.MemoryError: It does not fit; nothing is kept.
        BuildFailed: TensorRT makes no context of the plan.
    """

    def __init__(self, plan: Any, gpu: Gpu, package: ModelPackage, batch: int, *, time_limit: float) -> None:
        self.batch = batch
        self._plan, self._gpu, self._package = plan, gpu, package
        self._rest = self._context()
        self._rest_batch = 0
        self._scratch = max(self._shape(self._rest, size) for size in range(1, batch + 1))
        self._memory = gpu.cuda.mem_alloc(self._scratch)
        self._graphs: list[Graph] = []
        try:
            names = [spec.name for spec in package.manifest.inputs], [spec.name for spec in package.manifest.outputs]
            inputs, outputs = ([self._tensor(name) for name in side] for side in names)  # as the largest batch has them
            self.pipeline = TransferPipeline(gpu, inputs, outputs, time_limit=time_limit)
            self._full = [self._prepared(addresses) for addresses in self.pipeline.addresses]
        except BaseException:
            self._memory.free()
            raise

    def run(self, pieces: Sequence[tuple[Arrays, Arrays]]) -> None:
        """See TransferPipeline.run."""
        self.pipeline.run(pieces, self._launch)

    def warm_up(self) -> None:
        """Runs zeros through both slots, then records a full batch and keeps the recording if it is faster."""
        self.run([(self._zeros(self._package.manifest.inputs), self._zeros(self._package.manifest.outputs))] * SLOTS)
        plain = self.pipeline.seconds(self._start, SLOTS)
        if plain > LONG:
            log.debug("cuda_graph_not_tried", package=self._package.name, seconds=plain)
            return
        try:
            graphs = self._recorded()
        except (OSError, GraphFailed, InferenceFailed) as error:
            log.info("cuda_graph_not_to_be_had", package=self._package.name, reason=str(error))
            return
        plain, replayed = self._compare(graphs, times=max(SLOTS, min(32, int(LONG / plain))))
        worth_it = replayed < GAIN * plain
        log.info("cuda_graph", package=self._package.name, used=worth_it, seconds=replayed, without=plain)
        if worth_it:
            self._graphs = graphs
        else:
            _free(graphs)

    def forget(self) -> None:
        """After a failure: nothing that is still under way will be collected."""
        self.pipeline.forget()

    @property
    def replays(self) -> bool:
        """Whether full batches are started as CUDA graphs."""
        return bool(self._graphs)

    def free(self) -> None:
        """In this order: what refers to memory goes before the memory."""
        graphs, self._graphs = self._graphs, []
        _free(graphs)
        self._full, self._rest, self._plan = [], None, None
        self.pipeline.free()
        self._memory.free()

    def _launch(self, slot: int, batch: int, stream: int) -> None:
        if batch == self.batch:
            if self._graphs:
                self._graphs[slot].launch(stream)
            else:
                self._start(slot)
            return
        if batch != self._rest_batch:
            self._shape(self._rest, batch)
            self._give_memory(self._rest)
            self._rest_batch = batch
        _bind(self._rest, self.pipeline.addresses[slot], self._package.name)
        self._execute(self._rest, stream)

    def _start(self, slot: int) -> None:
        self._execute(self._full[slot], self.pipeline.computing)

    def _execute(self, context: Any, stream: int) -> None:
        if not context.execute_async_v3(stream):
            reason = logger().last
            kind = OutOfDeviceMemory if _out_of_memory(reason) else InferenceFailed
            refused = f"TensorRT refused to start the computation: {reason}"
            raise kind(package=self._package.name, backend=BACKEND, reason=refused)

    def _recorded(self) -> list[Graph]:
        recorder, graphs = self._gpu.recorder(), []
        try:
            for slot in range(SLOTS):
                graphs.append(recorder.record(self.pipeline.computing, lambda slot=slot: self._start(slot)))  # type: ignore[misc]
        except BaseException:
            _free(graphs)
            raise
        return graphs

    def _compare(self, graphs: Sequence[Graph], times: int) -> tuple[float, float]:
        """Best seconds per full batch without and with replay, in turns."""

        def replay(slot: int) -> None:
            graphs[slot].launch(self.pipeline.computing)

        try:
            rounds = [[self.pipeline.seconds(start, times) for start in (self._start, replay)] for _ in range(5)]
        except (GraphFailed, Hung):
            _free(graphs)
            raise
        plain, replayed = np.min(rounds, axis=0)
        return float(plain), float(replayed)

    def _context(self) -> Any:
        trt = import_tensorrt()
        context = self._plan.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            reason = logger().last
            if _out_of_memory(reason):
                raise self._gpu.cuda.MemoryError(reason)
            raise BuildFailed(
                backend=BACKEND,
                package=self._package.name,
                reason=f"TensorRT makes no execution context of the plan ({reason})",
            )
        return context

    def _prepared(self, addresses: Mapping[str, int]) -> Any:
        """A context for full batches of one slot, its shapes and addresses set."""
        context = self._context()
        self._shape(context, self.batch)
        self._give_memory(context)
        _bind(context, addresses, self._package.name)
        return context

    def _shape(self, context: Any, batch: int) -> int:
        """Sets the shapes of a batch, and returns the scratch space that it takes, bytes (at least 1)."""
        for spec in self._package.manifest.inputs:
            shape = (batch, *spec.shape[1:])
            if not context.set_input_shape(spec.name, shape):
                raise BuildFailed(
                    backend=BACKEND,
                    package=self._package.name,
                    reason=f"the plan takes no {spec.name} of shape {shape}",
                )
        return max(int(context.update_device_memory_size_for_shapes()), 1)

    def _give_memory(self, context: Any) -> None:
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(int(self._memory), self._scratch)
        else:  # TensorRT 10.0
            context.device_memory = int(self._memory)

    def _tensor(self, name: str) -> Tensor:
        dtype = np.dtype(import_tensorrt().nptype(self._plan.get_tensor_dtype(name)))
        return Tensor(name, tuple(self._rest.get_tensor_shape(name)), dtype)

    def _zeros(self, specs: Sequence[Any]) -> Arrays:
        return {spec.name: np.zeros((self.batch, *spec.shape[1:]), spec.dtype) for spec in specs}


def _bind(context: Any, addresses: Mapping[str, int], package: str) -> None:
    for name, address in addresses.items():
        if not context.set_tensor_address(name, address):
            raise InferenceFailed(
                package=package, backend=BACKEND, reason=f"TensorRT does not take the buffer of {name}"
            )


def _out_of_memory(reason: str) -> bool:
    """TensorRT says "OutOfMemory", CUDA "out of memory"."""
    return "outofmemory" in reason.lower().replace(" ", "")


def _free(graphs: Sequence[Graph]) -> None:
    for graph in graphs:
        graph.free()
