"""CUDA graphs: what was once sent to a stream, sent again in one call. PyCUDA has none, the driver's own library does.

Source: CUDA driver API, sections "Stream Management" and "Graph Management".
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do meanwhile is theirs


class GraphFailed(Exception):  # noqa: N818 - inside this package only; the engine says whose fault it is
    """The driver refused: `call` and its error code."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} gave CUDA error {code}")
        self.code = code


class Graph:
    """Work that was recorded; its shapes and addresses are those of the recording. Free it before they go."""

    def __init__(self, driver: Any, executable: ctypes.c_void_p) -> None:
        self._driver = driver
        self._executable = executable

    def launch(self, stream: int) -> None:
        """Starts all of it; returns at once.

        Raises:
            GraphFailed: From the driver.
        """
        _call(self._driver, "cuGraphLaunch", self._executable, ctypes.c_void_p(stream))

    def free(self) -> None:
        """Lets go of it; what is under way ends as if nothing had happened."""
        _call(self._driver, "cuGraphExecDestroy", self._executable)


class Recorder:
    """Makes graphs in the context that is current.

    Args:
        driver: libcuda, as ctypes loads it.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def record(self, stream: int, work: Callable[[], None]) -> Graph:
        """Records what `work` sends to `stream`, and to streams that wait for it; nothing of it is carried out.

        Raises:
            GraphFailed: It cannot be recorded, because it waits for the GPU for instance; the stream is as before.
        """
        handle, graph, executable = ctypes.c_void_p(stream), ctypes.c_void_p(), ctypes.c_void_p()
        _call(self._driver, "cuStreamBeginCapture_v2", handle, THREAD_LOCAL)
        try:
            work()
        except BaseException:
            self._driver.cuStreamEndCapture(handle, ctypes.byref(graph))  # or the stream would record for ever
            self._destroy(graph)
            raise
        try:
            _call(self._driver, "cuStreamEndCapture", handle, ctypes.byref(graph))
            flags = ctypes.c_ulonglong(0)
            _call(self._driver, "cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, flags)
        finally:
            self._destroy(graph)
        return Graph(self._driver, executable)

    def _destroy(self, graph: ctypes.c_void_p) -> None:
        if graph:
            self._driver.cuGraphDestroy(graph)


def load_driver() -> Any:
    """The driver's library, whose functions `Recorder` calls.

    Raises:
        OSError: It is not installed, or too old to have graphs.
    """
    driver = ctypes.CDLL("libcuda.so.1")
    if not hasattr(driver, "cuGraphInstantiateWithFlags"):
        raise OSError("libcuda.so.1 has no cuGraphInstantiateWithFlags (CUDA 11.4)")
    return driver


def _call(driver: Any, name: str, *arguments: Any) -> None:
    code = int(getattr(driver, name)(*arguments))
    if code:
        raise GraphFailed(name, code)
