"""The worker processes, by Dask's `distributed`: a local cluster, or a TLS scheduler when one machine is outgrown.

A job that kills its worker, hangs it or eats all its memory costs that worker process, nothing else: the nanny starts
a new one, and the result of the job is `WorkerLost`. The database decides how often it is tried again, not Dask.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import dask
import structlog
from distributed import Client
from distributed.security import Security

from daemon.config import LoggingSection
from daemon.errors import NoWorkerFree
from daemon.workers.cluster import QuietCluster
from daemon.workers.roster import Roster
from daemon.workers.status import DaemonStatus, Replaced, WorkerStatus
from daemon.workers.task import DeviceGone, TaskResult, WorkerLost, result_of, run_task
from daemon.workers.warm_up import PROGRESS, WarmUp
from pipelines.job import ModelChoices

if TYPE_CHECKING:
    from daemon.config import WorkersSection
    from pipelines.job import JobDescription

log = structlog.get_logger(__name__)

DASK: Mapping[str, object] = {
    "distributed.scheduler.allowed-failures": 0,  # retries are counted in the database
    "distributed.worker.daemon": True,
    "distributed.comm.timeouts.connect": "10s",
    "distributed.admin.tick.limit": "60s",
    # A worker that is replaced counts as gone for good if its successor takes longer to start than this; on
    # a busy machine the 15 s that Dask allows are too few.
    "distributed.deploy.lost-worker-timeout": "5 minutes",
    # With Dask's own value the C library hands each large array back at once and is given fresh pages for the next one,
    # which was a quarter of a CT's time. `run_task` gives back what is free after each job instead.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}
"""Where we differ from Dask's defaults."""

_RESTART_TIMEOUT = 30
_GRACE = 10  # seconds in which Dask says by itself that a job's worker is gone
_MISSED = 60  # seconds with too few workers after which Dask is asked for the missing ones
_REPLACED_SHOWN = 20  # replacements that `status` lists


@dataclass(frozen=True)
class _Running:
    """A job that runs: where, and since when (monotonic seconds)."""

    future: Any
    started: float
    address: str


class WorkerPool:
    """Runs jobs in worker processes; `submit` does not wait, `collect_results` yields the results that are there.

    Args:
        settings: Count, limits, scheduler address.
        scratch: Folder for Dask's own files, on a local disk.
        warm_up: Pipelines that a worker runs once when it starts, with their models.
        gpus: The workers' GPUs, dealt out in turn; empty leaves them to the jobs.
        logging_section: How workers write their log.
        on_result: Called from a Dask thread whenever a job has ended; must return at once.
    """

    def __init__(
        self,
        settings: WorkersSection,
        scratch: Path,
        *,
        warm_up: ModelChoices = MappingProxyType({}),
        gpus: tuple[int, ...] = (),
        logging_section: LoggingSection | None = None,
        on_result: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._scratch = scratch
        self._warm_up = warm_up
        self._gpus = gpus
        self._logging = logging_section or LoggingSection()
        self._on_result = on_result
        self._cluster: QuietCluster | None = None
        self._client: Client | None = None
        self._entered = 0.0
        self._announced = False
        self._short_since: float | None = None
        self._lock = threading.Lock()  # what follows is also read by `status`, from another thread
        self._running: dict[str, _Running] = {}
        self._roster = Roster()
        self._replaced: list[Replaced] = []

    def __enter__(self) -> Self:
        logging.getLogger("distributed").setLevel(logging.WARNING)
        dask.config.set(DASK)
        if self._settings.scheduler:
            self._client = Client(self._settings.scheduler, security=self._security(), set_as_default=False)
        else:
            self._cluster = self._local_cluster()
            self._client = Client(self._cluster, set_as_default=False)
        self._entered = time.monotonic()
        self._client.register_plugin(WarmUp(self._warm_up, self._logging, self._gpus))
        return self

    def _local_cluster(self) -> QuietCluster:
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        return QuietCluster(
            n_workers=self._settings.count,
            threads_per_worker=1,
            processes=True,
            memory_limit=self._settings.memory_limit.replace(" ", ""),
            host="127.0.0.1",
            security=True,  # certificates of this run: other local users cannot submit code to our workers
            local_directory=str(self._scratch),
            silence_logs=logging.ERROR,
        )

    def _security(self) -> Security | None:
        tls = self._settings.tls
        if tls is None:
            return None
        files = {"tls_ca_file": str(tls.ca), "tls_client_cert": str(tls.cert), "tls_client_key": str(tls.key)}
        return Security(require_encryption=True, **files)

    def __exit__(self, *_: object) -> None:
        """Gives up what still runs (the database returns it to the queue) and ends the processes."""
        if self._client is not None:
            self._client.close(timeout=5)
        if self._cluster is not None:
            try:
                self._cluster.close(timeout=10)
            except TimeoutError:  # a very busy machine; the processes end with this one
                log.warning("workers_not_stopped")

    @property
    def client(self) -> Client:
        """The Dask client; only between enter and exit."""
        if self._client is None:
            raise RuntimeError("the worker pool is not started")
        return self._client

    @property
    def free(self) -> int:
        """How many more jobs can be submitted now: to workers whose engines are open, which may take them minutes."""
        self._refresh()
        with self._lock:
            return len(self._places())

    @property
    def running(self) -> tuple[str, ...]:
        """Ids of the jobs whose result was not collected yet."""
        with self._lock:
            return tuple(self._running)

    @property
    def status(self) -> DaemonStatus:
        """The workers and their jobs, as of the last refresh."""
        with self._lock:
            jobs = {one.address: job_id for job_id, one in self._running.items()}
            workers = [
                WorkerStatus(address=one.address, state=one.state, since=one.seen, job=jobs.get(one.address))
                for one in self._roster
            ]
            return DaemonStatus(wanted=self._settings.count, workers=tuple(workers), replaced=tuple(self._replaced))

    def submit(self, job: JobDescription) -> None:
        """Starts a job on a free worker.

        Raises:
            NoWorkerFree: There was one when `free` was asked, and now it is gone.
        """
        with self._lock:
            places = self._places()
        if not places:
            raise NoWorkerFree(job_id=job.job_id)
        key = f"{job.job_id}-{time.monotonic_ns()}"
        future = self.client.submit(run_task, job, key=key, pure=False, retries=0, workers=[places[0]])
        with self._lock:
            self._running[job.job_id] = _Running(future, time.monotonic(), places[0])
        future.add_done_callback(lambda _: self._on_result())

    def collect_results(self) -> Iterator[TaskResult]:
        """The results since the last call; ends jobs that are over the time limit and yields them as lost."""
        with self._lock:
            running = dict(self._running)
        for job_id, one in running.items():
            answer = self._result(job_id, one)
            if answer is None:
                continue
            with self._lock:
                self._running.pop(job_id, None)
            one.future.release()
            yield answer

    def cancel(self, job_id: str) -> None:
        """Stops a job at once by replacing its worker process; it has no result."""
        with self._lock:
            one = self._running.pop(job_id, None)
        if one is not None:
            self._give_up(one, f"job {job_id} was cancelled")
            one.future.release()

    def _places(self) -> list[str]:
        """The address of each free place, of those workers first that have least to do; under the lock."""
        busy = Counter(one.address for one in self._running.values())
        places = [
            (taken, worker.address)
            for worker in self._roster.ready
            for taken in range(busy[worker.address], worker.threads)
        ]
        return [address for _, address in sorted(places)]

    def _refresh(self) -> None:
        """Asks the scheduler for the workers and their states; replaces those that do not become ready in time."""
        present = dict(self.client.nthreads())
        said = [(word["worker"], word["state"]) for _, word in self.client.get_events(PROGRESS)]
        now, limit = time.monotonic(), self._settings.start_limit.total_seconds()
        with self._lock:
            self._roster.update(present, said, now)
            ready, overdue = len(self._roster.ready), self._roster.overdue(limit, now)
        if not self._announced and ready >= (self._settings.count if self._cluster is not None else 1):
            self._announced = True
            log.info("workers_ready", seconds=round(now - self._entered, 2), workers=ready)
        self._fill_up(len(present), now)
        for worker in overdue:
            self._replace(worker.address, f"its engines were not open after {now - worker.since:.0f} s")

    def _fill_up(self, there: int, now: float) -> None:
        """Workers whose start failed are not tried again by Dask itself."""
        wanted = self._settings.count
        if self._cluster is None or there >= wanted:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = now
        elif now - self._short_since > _MISSED:
            log.warning("workers_missing", there=there, wanted=wanted)
            self._short_since = now
            self._cluster.scale(wanted)  # starts those that it has given up, under their old names; no others

    def _result(self, job_id: str, one: _Running) -> TaskResult | None:
        """What is to be said of a job, None while it runs."""
        limit, taken = self._settings.time_limit.total_seconds(), time.monotonic() - one.started
        if one.future.done():
            match result_of(job_id, one.future):
                case DeviceGone(reason):
                    self._replace(one.address, reason)
                    return WorkerLost(job_id, f"{reason.rstrip('.')}; its worker was replaced")
                case answer:
                    return answer
        if taken > limit:
            self._give_up(one, f"job {job_id} took longer than the time limit")
            return WorkerLost(job_id, f"took longer than the time limit of {limit:.0f} s; its worker was replaced")
        with self._lock:
            there = one.address in self._roster
        if taken > _GRACE and not there:  # it went before the scheduler had given it the job, which then waits for ever
            self._give_up(one, "")
            return WorkerLost(job_id, "its worker was lost before it began")
        return None

    def _give_up(self, one: _Running, reason: str) -> None:
        try:
            one.future.cancel(force=True)
        except Exception as error:  # the scheduler is slow or not available: the job is given up nevertheless
            log.warning("job_not_cancelled", reason=f"{type(error).__name__}: {error}")
        with self._lock:
            there = one.address in self._roster
        if there:
            self._replace(one.address, reason)

    def _replace(self, address: str, reason: str) -> None:
        """Has a worker's process ended and another one started; jobs go to the others at once."""
        log.warning("worker_replaced", worker=address, reason=reason)
        with self._lock:
            self._roster.mark_leaving(address, time.monotonic())
            self._replaced.append(Replaced(when=datetime.now(UTC), worker=address, reason=reason))
            del self._replaced[:-_REPLACED_SHOWN]
        threading.Thread(target=self._restart, args=(address,), name="replace-worker", daemon=True).start()

    def _restart(self, address: str) -> None:
        """In a thread of its own: it waits until the successor is there."""
        try:
            self.client.restart_workers([address], timeout=_RESTART_TIMEOUT, raise_for_error=False)
        except Exception as error:
            log.warning("worker_not_replaced", worker=address, reason=f"{type(error).__name__}: {error}")
            with self._lock:
                self._roster.mark_opening(address, time.monotonic())
