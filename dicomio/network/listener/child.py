"""One listener process, as the supervisor sees it: its state, its output, how to stop it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from dataclasses import dataclass, field
from typing import IO, Any

import structlog

from dicomio.network.listener.storage_health import STORING_FAILS, STORING_WORKS

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ProcessState:
    """State of a listener process.

    Attributes:
        pid: Its process id; None while it waits to be started again.
        ready: Whether it takes connections.
        connections: How many it has.
        trouble: Why it cannot store images, or cannot be started; '' if all is well.
    """

    pid: int | None
    ready: bool
    connections: int
    trouble: str


@dataclass
class Child:
    """One listener process."""

    number: int
    process: subprocess.Popen[bytes]
    stdin: IO[bytes]
    output: IO[bytes]
    started: float
    ready: threading.Event = field(default_factory=threading.Event)
    unread: bytes = b""
    trouble: str = ""

    def close_stdin(self) -> None:
        """End its standard input, which tells it to finish."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()

    def log_output(self, line: bytes) -> None:
        """Log again what the process logged, and note what it says about its state."""
        try:
            entry: dict[str, Any] = json.loads(line)
            event, level = str(entry.pop("event")), str(entry.pop("level"))
            entry.pop("at", None)
        except (ValueError, KeyError, AttributeError):
            log.warning("listener_process_output", pid=self.process.pid, line=line.decode(errors="replace"))
            return
        if event == "listener_process_ready":
            self.ready.set()
        elif event in (STORING_FAILS, STORING_WORKS):
            self.trouble = str(entry.get("reason", ""))
        level = level if level in {"debug", "info", "warning", "error", "critical"} else "error"
        getattr(log, level)(event, **entry)
