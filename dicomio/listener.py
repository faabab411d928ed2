"""The listener as the daemon sees it: several processes on one port, watched over, restarted when one dies."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import structlog

from dicomio.errors import DicomError
from dicomio.listener_settings import AllowedPeer, ListenerSettings
from dicomio.spool import Spool

__all__ = ["AllowedPeer", "Listener", "ListenerFailed", "ListenerSettings"]

log = structlog.get_logger(__name__)

BACKLOG = 128
BIND_PATIENCE = 5.0  # seconds; processes of a daemon that was killed need a moment to let go of the port
START_PATIENCE = 30.0
LONGEST_PAUSE = 30.0  # seconds before a process that keeps dying is started again
SETTLED = 10.0  # seconds after which a process that dies is restarted at once


@dataclass(eq=False, kw_only=True)
class ListenerFailed(DicomError):  # noqa: N818 - named as the others in dicomio/errors.py
    """The listener on {where} did not start: {reason}.

    Attributes:
        where: Address and port.
        reason: What went wrong.
    """

    where: str
    reason: str


@dataclass
class _Child:
    """One listener process."""

    number: int
    process: subprocess.Popen[bytes]
    lifeline: IO[bytes]
    output: IO[bytes]
    started: float
    ready: threading.Event = field(default_factory=threading.Event)
    unread: bytes = b""

    def hang_up(self) -> None:
        """End its standard input, which tells it to finish."""
        with contextlib.suppress(BrokenPipeError):
            self.lifeline.close()


class Listener:
    """Receives images into the spool while the context is active.

        with Listener(settings) as listener:
            while not stopped:
                listener.wait(5.0)
                index(spool.incoming())

    Attributes:
        port: The TCP port that it listens on, known once started.
    """

    def __init__(self, settings: ListenerSettings) -> None:
        self.settings = settings
        self.port = settings.port
        self._spool = Spool(settings.spool, reserve=settings.reserve_bytes)
        self._children: list[_Child] = []
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # between starting a process and stopping them all
        self._due: dict[int, float] = {}  # process number -> when to start it again
        self._pause = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def poke(self) -> int:
        """A descriptor that is readable when something was stored or an association ended since the last `wait`."""
        return self._wake_fd

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the listener processes."""
        return tuple(child.process.pid for child in self._children)

    @property
    def loads(self) -> tuple[int, ...]:
        """How many associations each process has at the moment."""
        return tuple(memoryview(os.pread(self._loads_fd, 4 * self.settings.processes, 0)).cast("I"))

    def wait(self, timeout: float | None) -> bool:
        """Wait until something was stored or an association ended; False after `timeout` seconds without."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_fd, selectors.EVENT_READ)
            if not selector.select(timeout):
                return False
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:  # another thread waits as well, and was faster
            return False
        return True

    def wake(self) -> None:
        """Let `wait` return; for other sources of files, and for stopping."""
        os.eventfd_write(self._wake_fd, 1)

    def start(self) -> None:
        """Bind the port and start the processes; returns when they are ready.

        Raises:
            ListenerFailed: The port is taken, or the processes do not start.
        """
        self._spool.sweep()
        self._listening = self._bind()
        self.port = self._listening.getsockname()[1]
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._loads_fd = os.memfd_create("scanward-listener-loads")
        os.ftruncate(self._loads_fd, 4 * self.settings.processes)
        self._children = [self._spawn(number) for number in range(self.settings.processes)]
        self._watcher = threading.Thread(target=self._watch, name="listener-watch", daemon=True)
        self._watcher.start()
        deadline = time.monotonic() + START_PATIENCE
        if not all(child.ready.wait(max(0.0, deadline - time.monotonic())) for child in self._children):
            self.stop()
            raise ListenerFailed(where=self._where(), reason="its processes did not come up, see the log")
        log.info("listener_started", ae_title=self.settings.ae_title, host=self.settings.host, port=self.port)

    def stop(self) -> None:
        """Stop accepting, let running associations end within the grace period, close."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._stopping.set()
        self._listening.close()
        for child in self._children:
            child.hang_up()
        deadline = time.monotonic() + self.settings.grace + 5.0
        for child in self._children:
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("listener_process_killed", pid=child.process.pid)
                child.process.kill()
                child.process.wait()
        self._watcher.join()
        os.close(self._loads_fd)
        os.close(self._wake_fd)
        log.info("listener_stopped", port=self.port)

    def _where(self) -> str:
        return f"{self.settings.host or '*'}:{self.port}"

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

    def _spawn(self, number: int) -> _Child:
        descriptors = (self._listening.fileno(), self._loads_fd, self._wake_fd)
        self._clear_load(number)
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(  # noqa: S603 - our own module, by the interpreter that we run in
            [sys.executable, "-m", "dicomio.listener_process", *map(str, descriptors), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=descriptors,
            env=os.environ | {"PYTHONPATH": path, "MALLOC_ARENA_MAX": "2"},
        )
        lifeline, output = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        lifeline.write(self.settings.to_json().encode() + b"\n")
        lifeline.flush()
        return _Child(number, process, lifeline, output, started=time.monotonic())

    def _watch(self) -> None:
        """Log what the processes say, and replace those that die."""
        with selectors.DefaultSelector() as selector:
            for child in self._children:
                selector.register(child.output, selectors.EVENT_READ, child)
            while selector.get_map() or not self._stopping.is_set():
                for key, _ in selector.select(timeout=0.5):
                    self._hear(selector, key.data)
                self._replace_due(selector)

    def _hear(self, selector: selectors.BaseSelector, child: _Child) -> None:
        data = os.read(child.output.fileno(), 1 << 16)
        *lines, child.unread = (child.unread + data).split(b"\n")
        for line in lines:
            _relay(child, line)
        if data:
            return
        selector.unregister(child.output)
        code = child.process.wait()
        child.hang_up()
        child.output.close()
        if self._stopping.is_set():
            return
        log.error("listener_process_died", pid=child.process.pid, exit_code=code)
        self._clear_load(child.number)
        self._spool.sweep()
        quick = time.monotonic() - child.started < SETTLED
        self._pause = min(LONGEST_PAUSE, 2 * self._pause + 0.5) if quick else 0.0
        self._due[child.number] = time.monotonic() + self._pause

    def _replace_due(self, selector: selectors.BaseSelector) -> None:
        for number in [number for number, due in self._due.items() if time.monotonic() >= due]:
            with self._lock:
                if self._stopping.is_set():
                    return
                del self._due[number]
                self._children[number] = child = self._spawn(number)
            selector.register(child.output, selectors.EVENT_READ, child)

    def _clear_load(self, number: int) -> None:
        os.pwrite(self._loads_fd, bytes(4), 4 * number)


def _relay(child: _Child, line: bytes) -> None:
    """Log again what a process logged."""
    try:
        entry: dict[str, Any] = json.loads(line)
        event, level = str(entry.pop("event")), str(entry.pop("level"))
        entry.pop("at", None)
    except (ValueError, KeyError, AttributeError):
        log.warning("listener_process_output", pid=child.process.pid, line=line.decode(errors="replace"))
        return
    if event == "listener_process_ready":
        child.ready.set()
    level = level if level in {"debug", "info", "warning", "error", "critical"} else "error"
    getattr(log, level)(event, **entry)
