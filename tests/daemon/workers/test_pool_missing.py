"""Workers that Dask gives up are asked for again, by a pool whose scheduler and clock the test plays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from daemon.config import WorkersSection
from daemon.workers import pool as workers
from daemon.workers.pool import WorkerPool


class Scheduler:
    """What the pool asks of Dask's client and cluster."""

    def __init__(self) -> None:
        self.present: dict[str, int] = {}
        self.said: list[tuple[float, dict[str, str]]] = []
        self.asked_for: list[int] = []

    def nthreads(self) -> dict[str, int]:
        return self.present

    def get_events(self, topic: str) -> list[tuple[float, dict[str, str]]]:
        return self.said

    def scale(self, count: int) -> None:
        self.asked_for.append(count)


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(workers.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def pool(tmp_path: Path, scheduler: Any, clock: list[float]) -> WorkerPool:
    made = WorkerPool(WorkersSection(count=2), tmp_path)
    made._client = made._cluster = scheduler
    return made


def test_two_workers_of_which_one_does_not_come_back(
    pool: WorkerPool, scheduler: Scheduler, clock: list[float]
) -> None:
    scheduler.present = {"tls://a": 1, "tls://b": 1}
    scheduler.said = [(0.0, {"worker": address, "state": "ready"}) for address in scheduler.present]
    assert pool.free == 2
    del scheduler.present["tls://b"]
    for seconds, asked in ((0, []), (59, []), (61, [2]), (120, [2]), (122.5, [2, 2])):
        clock[0] = 1000 + seconds
        with capture_logs() as log:
            assert pool.free == 1  # the other one works on
        assert scheduler.asked_for == asked
        assert [line["event"] for line in log].count("workers_missing") == (seconds in {61, 122.5})


def test_one_that_comes_back_in_time_is_not_asked_for(
    pool: WorkerPool, scheduler: Scheduler, clock: list[float]
) -> None:
    scheduler.present = {"tls://a": 1}
    assert pool.free == 0
    clock[0] += 50
    scheduler.present = {"tls://a": 1, "tls://c": 1}
    assert pool.free == 0
    clock[0] += 50
    scheduler.present = {"tls://a": 1}
    assert pool.free == 0
    assert scheduler.asked_for == []


def test_workers_of_a_scheduler_elsewhere_are_not_ours_to_start(
    pool: WorkerPool, scheduler: Scheduler, clock: list[float]
) -> None:
    pool._cluster = None
    for _ in range(5):
        assert pool.free == 0
        clock[0] += 100
    assert scheduler.asked_for == []
