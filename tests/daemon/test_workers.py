"""The worker pool with real worker processes; what happens in them is arranged by replacing `perform` there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from daemon.config import WorkersPart
from daemon.workers import Failed, Finished, Lost, Return, WorkerPool
from pipelines.work import JobDescription, Outcome

JOB = JobDescription(
    job_id="7",
    pipeline="brain-mr",
    inputs={},
    inputs_digest="",
    model_digest="",
    models={},
    output="",
    created=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    with WorkerPool(WorkersPart(count=1), tmp_path_factory.mktemp("dask")) as started:
        yield started


def arrange(how: str) -> int:
    """Runs in a worker: what `perform` does there from now on; returns the process id."""
    from daemon import workers
    from engines.errors import DeviceLost

    def perform(job: JobDescription) -> Outcome:
        match how:
            case "device":
                raise DeviceLost("tiny", "tensorrt", "a piece took more than 60 s")
            case "bug":
                raise ZeroDivisionError("ours")
            case "crash":
                os._exit(1)
        return Outcome(job.job_id, summary=how)

    workers.perform = perform  # type: ignore[assignment]
    return os.getpid()


def outcome(pool: WorkerPool, how: str) -> tuple[Return, int]:
    """What comes home of a job that fares like this, and the process that it ran in."""
    (process,) = pool.client.run(arrange, how).values()
    pool.submit(JOB)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = list(pool.returned())
        if found:
            return found[0], process
        time.sleep(0.05)
    raise AssertionError("it did not come home")


def process_now(pool: WorkerPool) -> int:
    pool.client.wait_for_workers(1, timeout=120)
    (process,) = pool.client.run(os.getpid).values()
    return process


@pytest.mark.slow
def test_a_finished_job_comes_home(pool: WorkerPool) -> None:
    answer, process = outcome(pool, "fine")
    assert answer == Finished("7", Outcome("7", summary="fine"))
    assert process_now(pool) == process


@pytest.mark.slow
def test_a_bug_is_not_tried_again_and_costs_no_process(pool: WorkerPool) -> None:
    answer, process = outcome(pool, "bug")
    assert answer == Failed("7", "ZeroDivisionError: ours")
    assert process_now(pool) == process


@pytest.mark.slow
@pytest.mark.parametrize(("how", "reason"), [("device", "took more than 60 s; its worker was replaced"), ("crash", "")])
def test_a_lost_device_or_process_is_replaced_and_worth_another_try(pool: WorkerPool, how: str, reason: str) -> None:
    answer, process = outcome(pool, how)
    assert isinstance(answer, Lost)
    assert reason in answer.reason
    assert process_now(pool) != process
    assert isinstance(outcome(pool, "fine")[0], Finished)
