"""A GPU, its driver and TensorRT's runtime for machines that have none: real arithmetic, in the worst order allowed.

Streams keep what they are sent until somebody asks after an event; then streams take turns at random, and no wait is
longer than an event demands. So a missing event, a buffer that is filled again too early or a graph whose context was
given another shape since shows as a wrong answer, as it would on a GPU, only surely. "Device" addresses are numbers
that mean nothing to anybody else. What is faked is what our code calls of PyCUDA, libcuda and TensorRT, no more.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from engines.backends.tensorrt.build import network_for
from engines.backends.tensorrt.cuda_graphs import Recorder
from engines.backends.tensorrt.gpu import Gpu
from engines.contract import BuildProgress
from engines.plans import Built
from tests.engines.conftest import unoptimised

MAGIC = b"FAKE PLAN\n"
OUT_OF_MEMORY, CAPTURE_UNSUPPORTED = 2, 900


class CudaError(Exception):
    """pycuda.driver.Error."""


class CudaMemoryError(CudaError):
    """pycuda.driver.MemoryError."""


class Driver:
    """pycuda.driver and libcuda of one card.

    Attributes:
        memory: Bytes that are free.
        launch_seconds: What the host pays for starting one network; `replay_seconds` for starting a graph.
        capturable: Whether a stream can be recorded.
        hangs: Nothing that is computed ends any more.
        broken: Every call from now on fails with this.
    """

    Error, MemoryError = CudaError, CudaMemoryError
    event_flags = SimpleNamespace(DISABLE_TIMING=2)

    def __init__(self, seed: int = 0, memory: int = 1 << 30) -> None:
        self.memory = memory
        self.launch_seconds = self.replay_seconds = 0.0
        self.capturable = True
        self.hangs = False
        self.broken: Exception | None = None
        self.random = random.Random(seed)
        self.streams: dict[int, Stream] = {}
        self.blocks: dict[int, np.ndarray] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.numbers = itertools.count(0x7F0000000100, 0x100)
        self.depth = 0  # of pushed contexts
        self.launched: list[str] = []

    def Stream(self) -> Stream:
        return Stream(self)

    def Event(self, flags: int = 0) -> Event:
        return Event(self)

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.full(shape, 77, dtype)

    def mem_alloc(self, size: int) -> Allocation:
        self.check()
        if size > self.memory:
            raise CudaMemoryError("cuMemAlloc failed: out of memory")
        return Allocation(self, size)

    def mem_get_info(self) -> tuple[int, int]:
        return self.memory, 1 << 30

    def memcpy_htod_async(self, target: Allocation, source: np.ndarray, stream: Stream) -> None:
        assert source.flags.c_contiguous
        stream.send(lambda: self._store(int(target), source))

    def memcpy_dtoh_async(self, target: np.ndarray, source: Allocation, stream: Stream) -> None:
        assert target.flags.c_contiguous
        stream.send(lambda: np.copyto(target, self.at(int(source), target.shape, target.dtype)))

    def _store(self, address: int, source: np.ndarray) -> None:
        np.copyto(self.at(address, source.shape, source.dtype), source)

    def at(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Device memory as an array."""
        block, size = self.blocks[address], int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert size <= len(block), "beyond the end of a buffer"
        return block[:size].view(dtype).reshape(shape)

    def check(self) -> None:
        assert self.depth > 0, "no context is current"
        if self.broken:
            raise self.broken

    def progress(self) -> None:
        """One step of one stream, whichever may."""
        self.check()
        ready = [stream for stream in self.streams.values() if stream.may_go()]
        if ready:
            self.random.choice(ready).go()

    # libcuda, as ctypes calls it

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:
        assert mode == 1
        self.streams[stream.value].recording = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:
        found, self.streams[stream.value].recording = self.streams[stream.value].recording, None
        if not self.capturable or found is None:
            return CAPTURE_UNSUPPORTED
        graph._obj.value = next(self.numbers)
        self.graphs[graph._obj.value] = found
        return 0

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:
        executable._obj.value = next(self.numbers)
        self.graphs[executable._obj.value] = self.graphs[graph.value]
        return 0

    def cuGraphLaunch(self, executable: Any, stream: Any) -> int:
        time.sleep(self.replay_seconds)
        self.launched.append("graph")
        for work in self.graphs[executable.value]:
            self.streams[stream.value].send(work)
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:
        return 0 if self.graphs.pop(graph.value, None) is not None else 1

    def cuGraphExecDestroy(self, executable: Any) -> int:
        return self.cuGraphDestroy(executable)


class Allocation:
    """Device memory."""

    def __init__(self, driver: Driver, size: int) -> None:
        self.driver, self.size, self.address = driver, size, next(driver.numbers)
        driver.memory -= size
        driver.blocks[self.address] = np.full(size, 0x7F, np.uint8)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.driver.check()
        del self.driver.blocks[self.address]
        self.driver.memory += self.size

    def __del__(self) -> None:
        if self.address in self.driver.blocks:
            del self.driver.blocks[self.address]
            self.driver.memory += self.size


class Stream:
    """A queue of work."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.handle = driver, next(driver.numbers)
        self.queue: deque[tuple[Callable[[], None], Event | None, int]] = deque()
        self.recording: list[Callable[[], None]] | None = None
        driver.streams[self.handle] = self

    def send(self, work: Callable[[], None], after: Event | None = None) -> None:
        self.driver.check()
        if self.recording is not None:
            self.recording.append(work)
        else:
            self.queue.append((work, after, after.recorded if after else 0))

    def wait_for_event(self, event: Event) -> None:
        self.send(lambda: None, after=event)

    def may_go(self) -> bool:
        if not self.queue:
            return False
        _, after, count = self.queue[0]
        return after is None or after.reached >= count

    def go(self) -> None:
        self.queue.popleft()[0]()


class Event:
    """A mark in a stream. A wait is for what was recorded last when the wait was sent."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.recorded, self.reached = driver, 0, 0

    def record(self, stream: Stream) -> Event:
        self.recorded += 1
        number = self.recorded

        def reach() -> None:
            self.reached = max(self.reached, number)

        stream.send(reach)
        return self

    def query(self) -> bool:
        self.driver.progress()
        return self.reached >= self.recorded


class FakeGpu(Gpu):
    """A card by number; `cards` says which there are."""

    cards: dict[int, Driver] = {}  # noqa: RUF012 - filled anew by each test

    def __init__(self, number: int) -> None:
        from engines.errors import DeviceMissing

        if number not in self.cards:
            raise DeviceMissing(backend="tensorrt", reason=f"GPU {number} is configured, {len(self.cards)} are there")
        self.cuda = self.cards[number]
        self.name, self.capability, self.driver = f"Fake {number}", "9.0", "13.0"
        driver = self.cuda

        class Context:
            def push(self) -> None:
                driver.depth += 1

            def pop(self) -> None:
                driver.depth -= 1

            detach = pop

        self._context = Context()

    def recorder(self) -> Recorder:
        return Recorder(self.cuda)


class FakeContext:
    """IExecutionContext: refuses what TensorRT refuses, and remembers that graphs hold on to its state."""

    def __init__(self, plan: FakePlan) -> None:
        self.plan, self.shapes, self.addresses = plan, {}, {}
        self.scratch = self.version = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if not 1 <= shape[0] <= self.plan.largest:
            return False
        self.version += self.shapes.get(name) != shape
        self.shapes[name] = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self.shapes.values()))[0]
        return self.shapes.get(name) or (batch, *self.plan.shape_of(name)[1:])

    def update_device_memory_size_for_shapes(self) -> int:
        return self.plan.scratch * next(iter(self.shapes.values()))[0]

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory in self.plan.driver.blocks
        self.scratch = size

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return memory in self.plan.driver.blocks

    def execute_async_v3(self, stream_handle: int) -> bool:
        driver = self.plan.driver
        if driver.hangs:
            never = Event(driver)
            never.recorded = 1
            driver.streams[stream_handle].send(lambda: None, after=never)
            return True
        assert self.scratch >= self.update_device_memory_size_for_shapes(), "the scratch space is too small"
        stream, version = driver.streams[stream_handle], self.version
        if stream.recording is None:
            time.sleep(driver.launch_seconds)
        driver.launched.append("network")
        shapes, addresses = dict(self.shapes), dict(self.addresses)

        def compute() -> None:
            if version != self.version:
                addresses.clear()  # the state that the work relies on is gone
            feeds = {name: driver.at(addresses[name], shape, np.float32) for name, shape in shapes.items()}
            for name, answer in zip(self.plan.outputs, self.plan.session.run(self.plan.outputs, feeds), strict=True):
                np.copyto(driver.at(addresses[name], answer.shape, answer.dtype), answer)

        stream.send(compute)
        return True


class FakePlan:
    """ICudaEngine: the package's own network, computed by ONNX Runtime."""

    def __init__(self, driver: Driver, content: bytes) -> None:
        largest, network = content[len(MAGIC) :].split(b"\n", 1)
        self.driver, self.largest, self.scratch = driver, int(largest), 1000
        self.session = unoptimised(network)
        self.outputs = [output.name for output in self.session.get_outputs()]

    def create_execution_context(self, strategy: Any) -> FakeContext:
        return FakeContext(self)

    def get_tensor_dtype(self, name: str) -> Any:
        return np.float32

    def shape_of(self, name: str) -> list[Any]:
        return next(tensor.shape for tensor in self.session.get_outputs() if tensor.name == name)


def fake_tensorrt(drivers: Sequence[Driver]) -> Any:
    """The module `tensorrt`, as far as it runs plans: on the card whose context is current."""

    class Runtime:
        def __init__(self, logger: Any) -> None: ...

        def deserialize_cuda_engine(self, plan: bytes) -> FakePlan | None:
            current = next(driver for driver in drivers if driver.depth)
            return FakePlan(current, plan) if plan.startswith(MAGIC) else None

    return SimpleNamespace(
        __version__="11.4.0.fake",
        Runtime=Runtime,
        nptype=lambda dtype: dtype,
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED=2),
    )


def fake_build(
    package: Any, precision: str, shapes: Any, timing: bytes = b"", progress: BuildProgress | None = None
) -> Built:
    """A plan that FakePlan understands; tells of one phase, and that it is built."""
    if progress is not None:
        progress("fake phase", 0.5)
        progress("built", 1.0)
    return Built(MAGIC + f"{shapes[0].largest[0]}\n".encode() + network_for(package, precision), b"timings")


def install(monkeypatch: Any, *drivers: Driver) -> Driver:
    """Puts cards of these drivers into this machine, for as long as the test runs; returns the first."""
    from engines.backends.tensorrt import build as tensorrt_build
    from engines.backends.tensorrt import engine as tensorrt_engine
    from engines.backends.tensorrt import plan_contexts as tensorrt_run

    first = (drivers or (Driver(),))[0]
    trt = fake_tensorrt(drivers or (first,))
    tensorrt_log = tensorrt_build.TensorRtLog(None, deque(maxlen=5))
    monkeypatch.setattr(FakeGpu, "cards", dict(enumerate(drivers or (first,))))
    monkeypatch.setattr(tensorrt_engine, "Gpu", FakeGpu)
    monkeypatch.setattr(tensorrt_engine, "build", fake_build)
    for module in (tensorrt_engine, tensorrt_run):
        monkeypatch.setattr(module, "import_tensorrt", lambda: trt)
        monkeypatch.setattr(module, "logger", lambda: tensorrt_log)
    first.tensorrt_log = tensorrt_log
    return first
