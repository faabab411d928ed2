"""Which workers there are, and how far each has come: pure bookkeeping, no Dask.

A worker says when it begins to open its engines and when they are open. Only then it gets jobs. One that does not get
so far in time is due to be replaced, and the others work on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum


class WorkerState(StrEnum):
    """How far a worker has come."""

    OPENING = "opening"
    READY = "ready"
    LEAVING = "leaving"


@dataclass
class Worker:
    """One worker process.

    Attributes:
        address: Where Dask reaches it; a successor has another.
        threads: How many jobs it takes at once.
        since: When it got into its state, monotonic seconds.
        seen: Same, as the wall clock says it, for people.
    """

    address: str
    threads: int
    state: WorkerState
    since: float
    seen: datetime


class Roster:
    """Follows the workers of a pool."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    def update(self, present: Mapping[str, int], said: Iterable[tuple[str, str]], now: float) -> None:
        """Takes in who is there and what they said.

        Args:
            present: Threads of each worker that is there, by address.
            said: (address, "opening" or "ready"), oldest first, from the beginning.
            now: Monotonic seconds.
        """
        for address in self._workers.keys() - present.keys():
            del self._workers[address]
        last = dict(said)
        for address, threads in present.items():
            worker = self._workers.get(address)
            if worker is None:
                worker = Worker(address, threads, WorkerState.OPENING, now, datetime.now(UTC))
                self._workers[address] = worker
            worker.threads = threads
            if worker.state is not WorkerState.LEAVING:
                self._move(worker, WorkerState(last.get(address, WorkerState.OPENING)), now)

    def mark_leaving(self, address: str, now: float) -> None:
        """Gives it no more jobs: it is being replaced."""
        if address in self._workers:
            self._move(self._workers[address], WorkerState.LEAVING, now)

    def mark_opening(self, address: str, now: float) -> None:
        """It could not be replaced: what it said last counts again."""
        if address in self._workers:
            self._move(self._workers[address], WorkerState.OPENING, now)

    def overdue(self, limit: float, now: float) -> list[Worker]:
        """Those that have been opening their engines for longer than `limit` seconds."""
        return [one for one in self if one.state is WorkerState.OPENING and now - one.since > limit]

    @property
    def ready(self) -> list[Worker]:
        """Those that take jobs."""
        return [one for one in self if one.state is WorkerState.READY]

    def __contains__(self, address: str) -> bool:
        return address in self._workers

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    @staticmethod
    def _move(worker: Worker, state: WorkerState, now: float) -> None:
        if worker.state is not state:
            worker.state, worker.since, worker.seen = state, now, datetime.now(UTC)
