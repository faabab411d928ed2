"""The worker pool with real worker processes; what happens in them is arranged by replacing `perform` there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.config import WorkersPart
from daemon.workers import Failed, Finished, Lost, Return, WorkerPool
from engines.contract import EngineSettings
from engines.package import shipped_folder
from engines.plans import PlanStore
from pipelines.work import EngineChoice, JobDescription, Outcome

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
    process = in_worker(pool, arrange, how)
    pool.submit(JOB)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = list(pool.returned())
        if found:
            return found[0], process
        time.sleep(0.05)
    raise AssertionError("it did not come home")


def in_worker(pool: WorkerPool, function: Callable[..., int], *arguments: object) -> int:
    """What the function says in the one worker, once a worker that died is no longer listed in its place."""
    deadline = time.monotonic() + 120
    while True:
        pool.client.wait_for_workers(1, timeout=120)
        try:
            (answer,) = pool.client.run(function, *arguments).values()
        except (OSError, ValueError):  # distributed's CommClosedError is an OSError
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return answer


def process_now(pool: WorkerPool) -> int:
    return in_worker(pool, os.getpid)


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


def takes_jobs(pool: WorkerPool, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if pool.free:
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
def test_no_job_goes_out_before_the_engines_are_open(tmp_path: Path) -> None:
    """A plan that has to be built takes minutes; no job waits for it, and none runs into its time limit."""
    package = shipped_folder() / "brain-lgg-classifier"
    settings = EngineSettings(backend="openvino", precision="fp32", threads=1, cache_dir=tmp_path / "plans")
    cast = {"brain-mr": {"classifier": EngineChoice(str(package), settings)}}
    store = PlanStore(tmp_path / "plans")
    with ExitStack() as stack:
        with store._locked():  # somebody else is building: the worker waits for the plan
            pool = stack.enter_context(WorkerPool(WorkersPart(count=1), tmp_path / "dask", warm_up=cast))
            assert not takes_jobs(pool, 5)
        assert takes_jobs(pool, 240)
        assert list(store.folder.glob("*.plan"))


@pytest.mark.slow
def test_a_worker_whose_engines_do_not_open_takes_jobs_all_the_same(tmp_path: Path) -> None:
    """They say what is wrong, each in its own words."""
    cast = {"brain-mr": {"classifier": EngineChoice(str(tmp_path / "no-such-package"), EngineSettings())}}
    with WorkerPool(WorkersPart(count=1), tmp_path / "dask", warm_up=cast) as pool:
        assert takes_jobs(pool, 240)
