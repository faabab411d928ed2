"""One GPU through PyCUDA: its context, and buffers between which copies and computation overlap."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.backends.tensorrt.cuda_graphs import Recorder, load_driver
from engines.contract import Arrays
from engines.errors import DeviceMissing
from engines.libraries import import_pycuda

TENSORRT = "tensorrt"
SLOTS = 2  # pieces under way at a time


class Hung(Exception):  # noqa: N818 - inside this package only; the engine says whose fault it is
    """The GPU did not finish within the time limit."""


class Gpu:
    """The primary context of one GPU, which PyTorch in the same process shares.

    Attributes:
        name: As the driver calls it.
        capability: Compute capability, such as "9.0".
        driver: The CUDA version that the driver speaks, such as "13.0".
    """

    def __init__(self, number: int) -> None:
        self.cuda: Any = import_pycuda()
        count = self.cuda.Device.count()
        if number >= count:
            raise DeviceMissing(backend=TENSORRT, reason=f"GPU {number} is configured, {count} are there")
        device = self.cuda.Device(number)
        self.name = str(device.name())
        self.capability = ".".join(map(str, device.compute_capability()))
        version = int(self.cuda.get_driver_version())
        self.driver = f"{version // 1000}.{version % 1000 // 10}"
        self._context = device.retain_primary_context()

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.capability}, CUDA {self.driver})"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Makes the context current for the calling thread."""
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def release(self) -> None:
        """Lets go of the context; everything in it must be gone."""
        self._context.push()
        self._context.detach()  # while current, so that it works from whichever thread; it also pops

    def recorder(self) -> Recorder:
        """Makes CUDA graphs on it.

        Raises:
            OSError: The driver has none.
        """
        return Recorder(load_driver())

    def free_bytes(self) -> int:
        """Free device memory; the context must be entered."""
        return int(self.cuda.mem_get_info()[0])


@dataclass(frozen=True)
class Tensor:
    """Name, largest shape (batch, ...) and dtype of an input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """Size of the largest."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


class _Slot:
    """Page-locked and device memory for one piece under way."""

    def __init__(self, cuda: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        tensors = (*inputs, *outputs)
        self.host = {tensor.name: cuda.pagelocked_empty(tensor.shape, tensor.dtype) for tensor in tensors}
        self.device = {tensor.name: cuda.mem_alloc(tensor.bytes) for tensor in tensors}
        self.arrived, self.computed, self.returned = (cuda.Event(cuda.event_flags.DISABLE_TIMING) for _ in range(3))
        self.results: Arrays | None = None  # where the answer goes that is under way; None while free

    def free(self) -> None:
        for allocation in self.device.values():
            allocation.free()
        self.device, self.host = {}, {}


Launch = Callable[[int, int, int], None]
"""Starts the computation on what lies in a slot: number of the slot, batch, stream handle."""


class TransferPipeline:
    """Slots and three streams: while one piece is computed, the next comes in and the last goes out.

    All memory is taken once. The context must be entered to construct, run and free.

    Attributes:
        addresses: Device addresses by tensor name, of each slot.
        computing: Handle of the stream that computes.

    Args:
        gpu: Whose memory.
        inputs: Their largest shapes.
        outputs: Same.
        time_limit: A piece that takes longer is taken for hung, seconds.
    """

    def __init__(self, gpu: Gpu, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, time_limit: float) -> None:
        cuda = gpu.cuda
        self._cuda = cuda
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        self._time_limit = time_limit
        self._incoming, self._computing, self._outgoing = (cuda.Stream() for _ in range(3))
        self._slots = [_Slot(cuda, inputs, outputs) for _ in range(SLOTS)]
        self.addresses: tuple[Mapping[str, int], ...] = tuple(
            {name: int(memory) for name, memory in slot.device.items()} for slot in self._slots
        )
        self.computing = int(self._computing.handle)

    def run(self, pieces: Sequence[tuple[Arrays, Arrays]], launch: Launch) -> None:
        """Sends each piece's feeds through `launch` and writes the answers into its results.

        Raises:
            Hung: The GPU does not answer.
            pycuda.driver.Error: From CUDA.
        """
        for number, (feeds, results) in enumerate(pieces):
            turn = number % SLOTS
            self._collect(self._slots[turn])
            self._send(turn, feeds, results, launch)
        for number in range(len(pieces), len(pieces) + SLOTS):
            self._collect(self._slots[number % SLOTS])

    def seconds(self, start: Callable[[int], None], times: int) -> float:
        """Seconds per call of `start(slot)`, which sends work on what lies in a slot to the computing stream.

        Raises:
            Hung: The GPU does not answer.
        """
        done = self._cuda.Event(self._cuda.event_flags.DISABLE_TIMING)
        started = time.perf_counter()
        for number in range(times):
            start(number % SLOTS)
        done.record(self._computing)
        self._await(done)
        return (time.perf_counter() - started) / times

    def free(self) -> None:
        """Gives all memory back."""
        for slot in self._slots:
            slot.free()
        self._slots = []

    def forget(self) -> None:
        """After a failure: nothing that is still under way will be collected."""
        for slot in self._slots:
            slot.results = None

    def _send(self, turn: int, feeds: Arrays, results: Arrays, launch: Launch) -> None:
        slot = self._slots[turn]
        batch = len(next(iter(feeds.values())))
        for tensor in self._inputs:
            host = slot.host[tensor.name][:batch]
            np.copyto(host, feeds[tensor.name])
            self._cuda.memcpy_htod_async(slot.device[tensor.name], host, self._incoming)
        slot.arrived.record(self._incoming)
        self._computing.wait_for_event(slot.arrived)
        launch(turn, batch, self.computing)
        slot.computed.record(self._computing)
        self._outgoing.wait_for_event(slot.computed)
        for tensor in self._outputs:
            self._cuda.memcpy_dtoh_async(slot.host[tensor.name][:batch], slot.device[tensor.name], self._outgoing)
        slot.returned.record(self._outgoing)
        slot.results = results

    def _collect(self, slot: _Slot) -> None:
        if slot.results is None:
            return
        self._await(slot.returned)
        for name, result in slot.results.items():
            np.copyto(result, slot.host[name][: len(result)])
        slot.results = None

    def _await(self, event: Any) -> None:
        """Polls: CUDA's own waiting cannot be given a limit, and a hung kernel would hold the worker for ever."""
        deadline = time.monotonic() + self._time_limit
        while not event.query():
            if time.monotonic() > deadline:
                raise Hung
            time.sleep(50e-6)
