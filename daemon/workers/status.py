"""How the workers and listener processes of a daemon stand: it leaves a small file, and `scanward status` reads it."""

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

from daemon.workers.roster import Readiness
from engines.cache import write_atomically

if TYPE_CHECKING:
    from dicomio.network.listener.supervisor import ListenerState

log = structlog.get_logger(__name__)

REFRESH = 10.0
"""Seconds after which it is written again though nothing changed: an old one tells that nobody looks any more."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class WorkerStanding(_Part):
    """One worker process: its state since when, and the job that it has."""

    address: str
    state: Readiness
    since: datetime
    job: str | None = None


class Replaced(_Part):
    """A worker that was ended by us, and why."""

    when: datetime
    worker: str
    reason: str


class ListenerProcessStanding(_Part):
    """One listener process: its id (none while it waits to be started again), how many connect, and what it lacks."""

    pid: int | None
    ready: bool
    connections: int
    trouble: str


class ListenerStanding(_Part):
    """The listener processes, and whether somebody replaces those that die."""

    processes: tuple[ListenerProcessStanding, ...]
    watched: bool


class PartState(StrEnum):
    """How a part of the daemon stands."""

    WORKING = "working"
    BUSY = "busy"
    WAITING = "waiting"
    FAILING = "failing"
    ENDED = "ended"


class PartStanding(_Part):
    """One part of the daemon (intake, dispatch, a sender, ...): its state since when, and why."""

    name: str
    state: PartState
    since: datetime
    reason: str = ""


class Standing(_Part):
    """All of them; `wanted` is how many workers there should be, `looked` when it was written.

    `listener` is None where none runs (yet). `rules_rejected` says what is wrong with a rule file that was changed: the
    rules from before stay in force. `parts` are the threads that do the daemon's work.
    """

    wanted: int
    workers: tuple[WorkerStanding, ...]
    replaced: tuple[Replaced, ...]
    listener: ListenerStanding | None = None
    rules_rejected: tuple[str, ...] = ()
    parts: tuple[PartStanding, ...] = ()
    looked: datetime | None = None


class StandingFile:
    """Keeps the file true. `step` is for a loop.

    Args:
        path: Where it lies; its folder exists.
        ask: How the workers stand now.
    """

    def __init__(self, path: Path, ask: Callable[[], Standing]) -> None:
        self._path = path
        self._ask = ask
        self._written: Standing | None = None
        self._due = 0.0

    def step(self) -> bool:
        """Writes what has changed, and now and then what has not."""
        now = self._ask()
        if now != self._written or time.monotonic() >= self._due:
            text = now.model_copy(update={"looked": datetime.now(UTC)}).model_dump_json(indent=1)
            write_atomically(self._path, text.encode())
            self._written, self._due = now, time.monotonic() + REFRESH
        return False


def listener_standing(state: ListenerState) -> ListenerStanding:
    """How the listener stands, in a form that can be written down."""
    processes = tuple(ListenerProcessStanding(**asdict(process)) for process in state.processes)
    return ListenerStanding(processes=processes, watched=state.watched)


def read_standing(path: Path) -> Standing | None:
    """What the daemon wrote last; None where there is nothing that this version understands."""
    try:
        return Standing.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        log.warning("standing_unreadable", file=str(path), reason=str(error))
        return None
