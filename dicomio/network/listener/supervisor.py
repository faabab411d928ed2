"""The listener: starts several processes on one port, watches them, restarts those that die."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self, cast

import structlog

from dicomio.errors import DicomError
from dicomio.files.spool.spool import Spool
from dicomio.network.backoff import Backoff
from dicomio.network.listener import connection_table
from dicomio.network.listener.child import Child, ProcessState
from dicomio.network.listener.settings import AllowedPeer, ListenerSettings

__all__ = ["AllowedPeer", "Listener", "ListenerFailed", "ListenerSettings", "ListenerState", "ProcessState"]

log = structlog.get_logger(__name__)

BACKLOG = 128
BIND_PATIENCE = 5.0  # seconds; processes of a daemon that was killed need a moment to let go of the port
START_PATIENCE = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a process that keeps dying is started again
STABLE_SECONDS = 10.0  # seconds after which a process that dies is restarted at once
EXIT_SECONDS = 5.0  # seconds that a process has to end once its output has ended
WATCH_TIMEOUT = 60.0  # seconds without a check of the processes after which the listener counts as not watched


@dataclass(eq=False, kw_only=True)
class ListenerFailed(DicomError):  # noqa: N818 - named as the others in dicomio/errors.py
    """The listener did not start; mostly its port is taken.

    Attributes:
        where: Address and port.
        reason: What went wrong.
    """

    message: ClassVar[str] = "The listener on {where} did not start: {reason}."

    where: str
    reason: str


@dataclass(frozen=True)
class ListenerState:
    """State of the listener.

    Attributes:
        processes: Each of them.
        watched: Whether processes that die are replaced.
    """

    processes: tuple[ProcessState, ...]
    watched: bool


class Listener:
    """Receives images into the spool while the context is active.

        with Listener(settings) as listener:
            while not stopped:
                index(spool.incoming())

    Attributes:
        port: The TCP port that it listens on, known once started.
    """

    def __init__(self, settings: ListenerSettings) -> None:
        self.settings = settings
        self.port = settings.port
        self._spool = Spool(settings.spool, reserve=settings.reserve_bytes)
        self._children: list[Child] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # between starting a process, stopping them all, and looking at them
        self._due: dict[int, float] = {}  # process number -> when to start it again
        self._backoff = defaultdict[int, Backoff](lambda: Backoff(FIRST_PAUSE, LONGEST_PAUSE))  # by process number
        self._not_started: dict[int, str] = {}  # process number -> why it could not be started
        self._table_fd = -1
        self._looked = 0.0
        self._watcher = threading.Thread(target=self._watch, name="listener-watch", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the listener processes."""
        return tuple(child.process.pid for child in self._children)

    @property
    def connection_counts(self) -> tuple[int, ...]:
        """How many connections each process has at the moment."""
        with self._lock:
            return self._connection_counts()

    @property
    def state(self) -> ListenerState:
        """State of the processes, and whether they are watched."""
        with self._lock:
            loads = self._connection_counts()
            processes = tuple(self._state_of(child, loads[child.number]) for child in self._children)
        recent = time.monotonic() - self._looked < WATCH_TIMEOUT
        return ListenerState(processes, watched=self._watcher.is_alive() and recent)

    def start(self) -> None:
        """Bind the port and start the processes; returns when they are ready.

        Raises:
            ListenerFailed: The port is taken, or the processes do not start.
        """
        self._spool.sweep()
        self._listening = self._bind()
        self.port = self._listening.getsockname()[1]
        try:
            self._table_fd = os.memfd_create("scanward-listener-connections")
            os.ftruncate(self._table_fd, connection_table.table_size(self.settings))
            for number in range(self.settings.processes):
                self._children.append(self._spawn(number))
        except OSError as error:
            self.stop()
            raise ListenerFailed(where=self._where(), reason=f"its processes cannot be started: {error}") from error
        self._looked = time.monotonic()
        self._watcher.start()
        deadline = time.monotonic() + START_PATIENCE
        if not all(child.ready.wait(max(0.0, deadline - time.monotonic())) for child in tuple(self._children)):
            self.stop()
            raise ListenerFailed(where=self._where(), reason="its processes did not get ready; see the log")
        log.info("listener_started", ae_title=self.settings.ae_title, host=self.settings.host, port=self.port)

    def stop(self) -> None:
        """Stop accepting, let running associations end within the grace period, close."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._stopping.set()
        self._listening.close()
        for child in self._children:
            child.close_stdin()
        deadline = time.monotonic() + self.settings.grace + 5.0
        for child in self._children:
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("listener_process_killed", pid=child.process.pid)
                child.process.kill()
                child.process.wait()
        if self._watcher.is_alive():
            self._watcher.join()
        with self._lock:
            table_fd, self._table_fd = self._table_fd, -1
        if table_fd >= 0:
            os.close(table_fd)
        try:
            self._spool.sweep()  # a process that was killed while receiving leaves its file there
        except OSError as error:
            log.error("sweep_failed", reason=str(error))
        log.info("listener_stopped", port=self.port)

    def _where(self) -> str:
        return f"{self.settings.host or '*'}:{self.port}"

    def _connection_counts(self) -> tuple[int, ...]:
        if self._table_fd < 0:
            return (0,) * self.settings.processes
        return connection_table.connection_counts(self._table_fd, self.settings)

    def _state_of(self, child: Child, connections: int) -> ProcessState:
        waits = child.number in self._due
        trouble = self._not_started.get(child.number, "it died and will be started again") if waits else child.trouble
        return ProcessState(
            pid=None if waits else child.process.pid,
            ready=child.ready.is_set() and not waits,
            connections=connections,
            trouble=trouble,
        )

    def _bind(self) -> socket.socket:
        host, deadline = self.settings.host, time.monotonic() + BIND_PATIENCE
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        while True:
            try:
                return socket.create_server(
                    (host, self.settings.port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::"
                )
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                    raise ListenerFailed(where=self._where(), reason=error.strerror or str(error)) from error
            time.sleep(0.1)

    def _spawn(self, number: int) -> Child:
        """Start a process; raises OSError if the machine has no resources for one."""
        descriptors = (self._listening.fileno(), self._table_fd)
        connection_table.clear(self._table_fd, self.settings, number)
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(  # noqa: S603 - our own module, by the interpreter that we run in
            [sys.executable, "-m", "dicomio.network.listener.process", *map(str, descriptors), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=descriptors,
            env=os.environ | {"PYTHONPATH": path, "MALLOC_ARENA_MAX": "2"},
        )
        stdin, output = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        with contextlib.suppress(BrokenPipeError):  # it is dead already, and its output says so
            stdin.write(self.settings.to_json().encode() + b"\n")
            stdin.flush()
        return Child(number, process, stdin, output, started=time.monotonic())

    def _watch(self) -> None:
        """Log the output of the processes, and replace those that die; no error ends it."""
        with selectors.DefaultSelector() as selector:
            for child in self._children:
                selector.register(child.output, selectors.EVENT_READ, child)
            while selector.get_map() or not self._stopping.is_set():
                try:
                    self._watch_once(selector)
                except Exception as error:  # this thread replaces processes and must not end before them
                    with contextlib.suppress(OSError):  # not even the log may have room
                        log.error("listener_watch_failed", error=f"{type(error).__name__}: {error}")
                    self._stopping.wait(1.0)

    def _watch_once(self, selector: selectors.BaseSelector) -> None:
        self._looked = time.monotonic()
        for key, _ in selector.select(timeout=0.5):
            self._read_output(selector, key.data)
        self._replace_due(selector)

    def _read_output(self, selector: selectors.BaseSelector, child: Child) -> None:
        data = os.read(child.output.fileno(), 1 << 16)
        *lines, child.unread = (child.unread + data).split(b"\n")
        for line in lines:
            child.log_output(line)
        if not data:
            selector.unregister(child.output)
            self._on_exit(child)

    def _on_exit(self, child: Child) -> None:
        """Replace a process that died or closed its output."""
        if not self._stopping.is_set():
            self._schedule(child.number, quick=time.monotonic() - child.started < STABLE_SECONDS)
        try:
            code = child.process.wait(EXIT_SECONDS if not self._stopping.is_set() else None)
        except subprocess.TimeoutExpired:
            child.process.kill()
            code = child.process.wait()
        child.close_stdin()
        child.output.close()
        if self._stopping.is_set():
            return
        log.error("listener_process_died", pid=child.process.pid, exit_code=code)
        self._spool.sweep()

    def _schedule(self, number: int, *, quick: bool) -> None:
        backoff = self._backoff[number]
        if quick:
            backoff.failed()
        else:
            backoff.succeeded()
        self._due[number] = time.monotonic() + backoff.pause

    def _replace_due(self, selector: selectors.BaseSelector) -> None:
        for number in [number for number, due in self._due.items() if time.monotonic() >= due]:
            with self._lock:
                if self._stopping.is_set():
                    return
                try:
                    child = self._spawn(number)
                except OSError as error:  # no memory, descriptors or processes left: try again later
                    self._not_started[number] = str(error)
                    self._schedule(number, quick=True)
                    log.error("listener_process_not_started", reason=str(error), next_try_s=self._backoff[number].pause)
                    continue
                self._children[number] = child
                self._not_started.pop(number, None)
                del self._due[number]
            selector.register(child.output, selectors.EVENT_READ, child)
