"""The worker pool with real worker processes; what happens in them is arranged by replacing `perform` there."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
import structlog
from dask.utils import parse_timedelta

from daemon.config import WorkersSection
from daemon.errors import NoWorkerFree
from daemon.workers import pool as workers
from daemon.workers import warm_up
from daemon.workers.pool import WorkerPool
from daemon.workers.roster import WorkerState
from daemon.workers.task import Failed, Finished, TaskResult, WorkerLost
from daemon.workers.warm_up import WarmUp
from engines.backends.onnxruntime.engine import OnnxRuntimeEngine
from engines.choose import BACKENDS
from engines.contract import EngineSettings
from engines.packages.package import shipped_folder
from engines.plans import PlanStore
from pipelines.job import EngineChoice, JobDescription, Outcome
from tests.daemon.support.job_examples import JOB, LONG
from tests.daemon.support.waiting import until


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    with WorkerPool(WorkersSection(count=1), tmp_path_factory.mktemp("dask")) as started:
        yield started


def arrange(how: str) -> int:
    """Runs in a worker: what `perform` does there from now on; returns the process id."""
    from daemon.workers import task as tasks
    from engines.errors import DeviceLost

    def perform(job: JobDescription) -> Outcome:
        match how:
            case "device":
                raise DeviceLost(package="tiny", backend="tensorrt", reason="a piece took more than 60 s")
            case "bug":
                raise ZeroDivisionError("ours")
            case "crash":
                os._exit(1)
            case "hang":
                time.sleep(3600)
        return Outcome(job.job_id, summary=how)

    tasks.perform = perform  # type: ignore[assignment]
    return os.getpid()


def outcome(pool: WorkerPool, how: str) -> tuple[TaskResult, int]:
    """What comes home of a job that fares like this, and the process that it ran in."""
    assert takes_jobs(pool, LONG)
    process = in_worker(pool, arrange, how)
    pool.submit(JOB)
    return collect(pool), process


def collect(pool: WorkerPool) -> TaskResult:
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline:
        for answer in pool.collect_results():
            return answer
        time.sleep(0.05)
    raise AssertionError("there is no result")


def in_worker(pool: WorkerPool, function: Callable[..., int], *arguments: object) -> int:
    """What the function says in the one worker, once a worker that died is no longer listed in its place."""
    deadline = time.monotonic() + LONG
    while True:
        pool.client.wait_for_workers(1, timeout=LONG)
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
def test_memory_is_given_back_after_a_job_and_not_after_every_array(pool: WorkerPool) -> None:
    assert in_worker(pool, lambda: int("MALLOC_TRIM_THRESHOLD_" in os.environ)) == 0
    assert in_worker(pool, lambda: int(os.environ["OMP_NUM_THREADS"])) == 1

    def hoard() -> int:
        """Replaces `perform` by one that leaves much free behind, in small pieces under one that stays."""
        from daemon.workers import task as tasks

        def perform(job: JobDescription) -> Outcome:
            pieces = [bytearray(60_000) for _ in range(4000)]
            tasks.stays = bytearray(60_000)  # type: ignore[attr-defined]
            del pieces
            return Outcome(job.job_id, summary=str(resident()))

        tasks.perform = perform  # type: ignore[assignment]
        return 0

    assert takes_jobs(pool, LONG)
    in_worker(pool, hoard)
    pool.submit(JOB)
    answer = collect(pool)
    assert isinstance(answer, Finished)
    assert in_worker(pool, resident) < int(answer.outcome.summary) - 100


def resident() -> int:
    """Megabytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


@pytest.mark.slow
def test_a_bug_is_not_tried_again_and_costs_no_process(pool: WorkerPool) -> None:
    answer, process = outcome(pool, "bug")
    assert answer == Failed("7", "ZeroDivisionError: ours", "ZeroDivisionError")
    assert process_now(pool) == process


@pytest.mark.slow
@pytest.mark.parametrize(("how", "reason"), [("device", "took more than 60 s; its worker was replaced"), ("crash", "")])
def test_a_lost_device_or_process_is_replaced_and_worth_another_try(pool: WorkerPool, how: str, reason: str) -> None:
    answer, process = outcome(pool, how)
    assert isinstance(answer, WorkerLost)
    assert reason in answer.reason
    answer, successor = outcome(pool, "fine")  # never given to the one that is being replaced
    assert isinstance(answer, Finished)
    assert successor != process


def takes_jobs(pool: WorkerPool, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if pool.free:
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
def test_a_job_over_the_time_limit_costs_its_worker_and_the_reason_is_kept(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert takes_jobs(pool, LONG)
    process = in_worker(pool, arrange, "hang")
    with monkeypatch.context() as patch:
        patch.setattr(pool, "_settings", WorkersSection(count=1, time_limit=timedelta(seconds=1)))
        pool.submit(JOB)
        answer = collect(pool)
    assert isinstance(answer, WorkerLost)
    assert "longer than the time limit of 1 s" in answer.reason
    assert "time limit" in pool.status.replaced[-1].reason
    answer, successor = outcome(pool, "fine")
    assert isinstance(answer, Finished)
    assert successor != process


@pytest.mark.slow
def test_a_successor_has_minutes_to_start_before_dask_gives_it_up(pool: WorkerPool) -> None:
    """By itself Dask allows 15 s, and never tries again: on a busy machine a worker that was replaced was gone."""
    assert parse_timedelta(dask.config.get("distributed.deploy.lost-worker-timeout")) >= 120


@pytest.mark.slow
def test_nobody_free_is_said_and_loses_no_job(pool: WorkerPool) -> None:
    assert takes_jobs(pool, LONG)
    in_worker(pool, arrange, "fine")
    pool.submit(JOB)
    with pytest.raises(NoWorkerFree, match="job 8"):
        pool.submit(dataclasses.replace(JOB, job_id="8"))
    assert pool.running == ("7",)
    assert isinstance(collect(pool), Finished)


class Hanging(OnnxRuntimeEngine):
    """An engine that never opens."""

    def _load(self) -> None:
        time.sleep(3600)


class SecondHangsOnce(WarmUp):
    """In the worker with number 1 the engine hangs while it opens; in its successor it does not."""

    def setup(self, worker: Any) -> None:
        warm_up.run_on_phantoms = lambda runner, choices: None  # another test covers it
        mark = Path(worker.local_directory).parent / "hung-once"
        if worker.name == 1 and not mark.exists():
            mark.touch()
            BACKENDS["onnxruntime"] = Hanging
        super().setup(worker)


@pytest.mark.slow
@pytest.mark.timeout(3 * LONG)
def test_a_worker_that_hangs_while_it_opens_its_engines_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WarmUp", SecondHangsOnce)
    package = shipped_folder() / "brain-lgg-classifier"
    choices = {"brain-mr": {"classifier": EngineChoice(str(package), EngineSettings(backend="onnxruntime", threads=1))}}
    patient = WorkersSection(count=2, start_limit=timedelta(hours=1))
    with WorkerPool(patient, tmp_path / "dask", warm_up=choices) as pool:
        assert takes_jobs(pool, LONG)  # the first worker takes jobs though the second is nowhere near
        until(lambda: states(pool) == ["opening", "ready"], LONG)
        assert pool.free == 1
        in_workers(pool, arrange, "fine")
        for _ in range(3):
            pool.submit(JOB)
            assert isinstance(collect(pool), Finished)
        (hung,) = (one for one in pool.status.workers if one.state is WorkerState.OPENING)
        assert pool.status.replaced == ()

        pool._settings = WorkersSection(count=2, start_limit=timedelta(0))
        with structlog.testing.capture_logs() as said:
            assert pool.free == 1  # the first still takes jobs, the second is on its way out
        pool._settings = patient
        assert {line["event"] for line in said} == {"worker_replaced"}
        (replaced,) = pool.status.replaced
        assert (replaced.worker, replaced.reason[:30]) == (hung.address, "its engines were not open after"[:30])

        def both_ready() -> bool:
            return pool.free == 2

        until(both_ready, LONG)
        assert hung.address not in [one.address for one in pool.status.workers]


def states(pool: WorkerPool) -> list[str]:
    assert pool.free >= 0  # looks
    return sorted(one.state for one in pool.status.workers)


def in_workers(pool: WorkerPool, function: Callable[..., int], *arguments: object) -> None:
    pool.client.run(function, *arguments)


@pytest.mark.slow
def test_no_job_goes_out_before_the_engines_are_open(tmp_path: Path) -> None:
    """A plan that has to be built takes minutes; no job waits for it, and none runs into its time limit."""
    package = shipped_folder() / "brain-lgg-classifier"
    settings = EngineSettings(backend="openvino", precision="fp32", threads=1, cache_dir=tmp_path / "plans")
    choices = {"brain-mr": {"classifier": EngineChoice(str(package), settings)}}
    store = PlanStore(tmp_path / "plans")
    with ExitStack() as stack:
        with store.locked():  # somebody else is building: the worker waits for the plan
            pool = stack.enter_context(WorkerPool(WorkersSection(count=1), tmp_path / "dask", warm_up=choices))
            assert not takes_jobs(pool, 5)
        assert takes_jobs(pool, LONG)
        assert list(store.folder.glob("*.plan"))


@pytest.mark.slow
def test_a_worker_whose_engines_do_not_open_takes_jobs_all_the_same(tmp_path: Path) -> None:
    """They say what is wrong, each in its own words."""
    choices = {"brain-mr": {"classifier": EngineChoice(str(tmp_path / "no-such-package"), EngineSettings())}}
    with WorkerPool(WorkersSection(count=1), tmp_path / "dask", warm_up=choices) as pool:
        assert takes_jobs(pool, LONG)


@pytest.mark.slow
def test_no_web_page_answers_any_local_user(pool: WorkerPool) -> None:
    """Dask's scheduler and workers would each serve some; what listens speaks TLS to whoever has a certificate."""
    assert takes_jobs(pool, LONG)
    here = psutil.Process()
    family = {one.pid: one for one in [here, *here.children(recursive=True)]}
    ports = {
        found.laddr.port
        for one in family.values()
        for found in one.net_connections("tcp")
        if found.status == psutil.CONN_LISTEN
    }
    assert ports
    for port in ports:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.settimeout(2)
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            with suppress(OSError):
                assert not connection.recv(100).startswith(b"HTTP/")
