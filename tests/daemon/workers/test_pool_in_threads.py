"""The pool on a real Dask scheduler whose workers are threads of this process: quick, and without a nanny."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster, get_worker

from daemon.config import WorkersSection
from daemon.errors import NoWorkerFree
from daemon.workers import pool as workers
from daemon.workers import task as tasks
from daemon.workers import warm_up
from daemon.workers.pool import WorkerPool
from daemon.workers.task import Finished, TaskResult
from daemon.workers.warm_up import WarmUp
from pipelines.job import JobDescription, Outcome
from tests.daemon.support.job_examples import JOB, LONG
from tests.daemon.support.waiting import until

OPENED, HELD = threading.Event(), threading.Event()
"""The second worker's engines are open; jobs may end."""


class SecondWaits(WarmUp):
    """The worker with number 1 hangs while it opens its engines, until it is let go."""

    def _warm_up(self, worker: Any) -> None:
        if worker.name == 1:
            OPENED.wait(LONG)
        super()._warm_up(worker)


def perform(job: JobDescription) -> Outcome:
    HELD.wait(LONG)
    return Outcome(job.job_id, summary=str(get_worker().name))


def as_threads(self: WorkerPool) -> LocalCluster:
    return LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    monkeypatch.setattr(WorkerPool, "_local_cluster", as_threads)
    monkeypatch.setattr(workers, "WarmUp", SecondWaits)
    monkeypatch.setattr(warm_up, "set_up_logs", lambda *arguments, **options: None)
    monkeypatch.setattr(tasks, "perform", perform)
    OPENED.clear()
    HELD.set()
    with WorkerPool(WorkersSection(count=2), tmp_path) as made:
        yield made
        OPENED.set()
        HELD.set()


def collect(pool: WorkerPool, count: int) -> list[TaskResult]:
    found: list[TaskResult] = []

    def all_there() -> bool:
        found.extend(pool.collect_results())
        return len(found) >= count

    until(all_there, LONG)
    return found


def states(pool: WorkerPool) -> list[str]:
    return sorted(one.state for one in pool.status.workers)


def where(answers: list[TaskResult]) -> list[str]:
    assert all(isinstance(answer, Finished) for answer in answers), answers
    return sorted(answer.outcome.summary for answer in answers if isinstance(answer, Finished))


def test_jobs_go_only_to_workers_that_are_ready(pool: WorkerPool) -> None:
    until(lambda: pool.free == 1 and states(pool) == ["opening", "ready"], LONG)
    for number in range(4):
        pool.submit(replace(JOB, job_id=str(number)))
        assert pool.free == 0
        assert where(collect(pool, 1)) == ["0"]
    OPENED.set()
    until(lambda: pool.free == 2, LONG)
    HELD.clear()
    pool.submit(JOB)
    pool.submit(replace(JOB, job_id="8"))
    with pytest.raises(NoWorkerFree, match="job 9"):
        pool.submit(replace(JOB, job_id="9"))
    until(lambda: sorted(one.job or "" for one in pool.status.workers) == ["7", "8"], LONG)
    HELD.set()
    assert where(collect(pool, 2)) == ["0", "1"]
    assert pool.status.replaced == ()


def test_one_that_is_not_ready_in_time_is_to_be_replaced_and_the_other_takes_jobs(pool: WorkerPool) -> None:
    until(lambda: pool.free == 1 and states(pool) == ["opening", "ready"], LONG)
    (hung,) = (one.address for one in pool.status.workers if one.state == "opening")
    pool._settings = WorkersSection(count=2, start_limit=timedelta(0))
    assert pool.free == 1
    (gone,) = pool.status.replaced
    assert gone.worker == hung
    assert gone.reason.startswith("its engines were not open after")
    pool._settings = WorkersSection(count=2)
    pool.submit(JOB)
    assert where(collect(pool, 1)) == ["0"]
    OPENED.set()  # there is no nanny to replace it; so it counts again, by what it says
    until(lambda: pool.free == 2, LONG)
