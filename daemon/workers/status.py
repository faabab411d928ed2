"""The status of a running daemon: it keeps a small file (`status.json`), and `scanward status` reads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from daemon.workers.roster import WorkerState
from engines.private_files import write_atomically

if TYPE_CHECKING:
    from dicomio.network.listener.supervisor import ListenerState

log = structlog.get_logger(__name__)

REFRESH = 10.0
"""Seconds after which it is written again though nothing changed: an old file means that it hangs or was killed."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class WorkerStatus(_Part):
    """One worker process: its state since when, and the job that it has."""

    address: str
    state: WorkerState
    since: datetime
    job: str | None = None


class Replaced(_Part):
    """A worker that was ended by us, and why."""

    when: datetime
    worker: str
    reason: str


class ListenerProcessStatus(_Part):
    """One listener process: its id (none while it waits to be started again), how many connect, and what it lacks."""

    pid: int | None
    ready: bool
    connections: int
    trouble: str


class ListenerStatus(_Part):
    """The listener processes, and whether somebody replaces those that die."""

    processes: tuple[ListenerProcessStatus, ...]
    watched: bool


class PartState(StrEnum):
    """What a part of the daemon is doing."""

    WORKING = "working"
    BUSY = "busy"
    WAITING = "waiting"
    FAILING = "failing"
    ENDED = "ended"


class PartStatus(_Part):
    """One part of the daemon (intake, dispatch, a sender, ...): its state since when, and why."""

    name: str
    state: PartState
    since: datetime
    reason: str = ""


class DaemonStatus(_Part):
    """All of them; `wanted` is how many workers there should be, `looked` when it was written.

    `listener` is None where none runs (yet). `rules_rejected` says what is wrong with a rule file that was changed: the
    rules from before stay in force. `parts` are the threads that do the daemon's work.
    """

    wanted: int
    workers: tuple[WorkerStatus, ...]
    replaced: tuple[Replaced, ...]
    listener: ListenerStatus | None = None
    rules_rejected: tuple[str, ...] = ()
    parts: tuple[PartStatus, ...] = ()
    looked: datetime | None = None


class StatusFile:
    """Keeps the file up to date. `step` is for a loop.

    Args:
        path: Where it lies; its folder exists.
        ask: Returns the status now.
    """

    def __init__(self, path: Path, ask: Callable[[], DaemonStatus]) -> None:
        self._path = path
        self._ask = ask
        self._written: DaemonStatus | None = None
        self._due = 0.0

    def step(self) -> bool:
        """Writes what has changed, and now and then what has not."""
        now = self._ask()
        if now != self._written or time.monotonic() >= self._due:
            text = now.model_copy(update={"looked": datetime.now(UTC)}).model_dump_json(indent=1)
            write_atomically(self._path, text.encode())
            self._written, self._due = now, time.monotonic() + REFRESH
        return False


def listener_status(state: ListenerState) -> ListenerStatus:
    """The status of the listener, in a form that can be written to the file."""
    processes = tuple(ListenerProcessStatus(**asdict(process)) for process in state.processes)
    return ListenerStatus(processes=processes, watched=state.watched)


def read_status(path: Path) -> DaemonStatus | None:
    """What the daemon wrote last; None where there is nothing that this version understands."""
    try:
        return DaemonStatus.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        log.warning("status_file_unreadable", file=str(path), reason=str(error))
        return None
