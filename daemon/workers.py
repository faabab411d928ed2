"""The worker processes, by Dask's `distributed`: a local cluster, or a TLS scheduler when one machine is outgrown.

A job that kills its worker, hangs it or eats all its memory costs that worker process, nothing else: the nanny starts
a new one, and the job comes home as `Lost`. How often it is tried again is for the database to say, not for Dask.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import dask
import structlog
from distributed import Client, KilledWorker, LocalCluster, get_worker
from distributed.security import Security

from daemon.config import LoggingPart
from daemon.warm_up import READY, WarmUp
from engines.errors import DeviceLost
from pipelines.rehearsal import Cast
from pipelines.work import JobDescription, Outcome, perform

if TYPE_CHECKING:
    from daemon.config import WorkersPart

log = structlog.get_logger(__name__)

_RESTART_TIMEOUT = 30
_FETCH_TIMEOUT = 60


@dataclass(frozen=True)
class Finished:
    """The worker answered: with what it found, or with why it refused."""

    job_id: str
    outcome: Outcome


@dataclass(frozen=True)
class Failed:
    """The worker raised: our bug, or an input that nobody foresaw. Trying again would give the same."""

    job_id: str
    reason: str


@dataclass(frozen=True)
class Lost:
    """The worker died or was killed (crash, memory, time limit): worth one more try."""

    job_id: str
    reason: str


Return = Finished | Failed | Lost


@dataclass(frozen=True)
class _Stranded:
    """A job whose device is gone, and the address of the worker that is of no more use."""

    worker: str
    reason: str


def _perform(job: JobDescription) -> Outcome | _Stranded:
    """Runs in the worker: what happened to a device is no fault of the job, and worth one more try elsewhere."""
    try:
        return perform(job)
    except DeviceLost as error:
        return _Stranded(get_worker().address, str(error))


class WorkerPool:
    """Runs jobs in worker processes; `submit` does not wait, `returned` yields what has come home.

    Args:
        settings: Count, limits, scheduler address.
        scratch: Folder for Dask's own files, on a local disk.
        warm_up: Pipelines that a worker rehearses when it starts, with their models.
        gpus: The workers' GPUs, dealt out in turn; empty leaves them to the jobs.
        logging_part: How workers write their log.
        on_return: Called from a Dask thread whenever a job has come home; must only wake somebody.
    """

    def __init__(
        self,
        settings: WorkersPart,
        scratch: Path,
        *,
        warm_up: Cast = MappingProxyType({}),
        gpus: tuple[int, ...] = (),
        logging_part: LoggingPart | None = None,
        on_return: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._scratch = scratch
        self._warm_up = warm_up
        self._gpus = gpus
        self._logging = logging_part or LoggingPart()
        self._on_return = on_return
        self._cluster: LocalCluster | None = None
        self._client: Client | None = None
        self._running: dict[str, tuple[Any, float]] = {}
        self._open = False
        self._entered = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        logging.getLogger("distributed").setLevel(logging.WARNING)
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": 0,  # retries are counted in the database
                "distributed.worker.daemon": True,
                "distributed.comm.timeouts.connect": "10s",
                "distributed.admin.tick.limit": "60s",
            }
        )
        if self._settings.scheduler:
            self._client = Client(self._settings.scheduler, security=self._security(), set_as_default=False)
        else:
            self._cluster = self._local_cluster()
            self._client = Client(self._cluster, set_as_default=False)
        self._entered = time.monotonic()
        # Workers elsewhere were started by somebody else, long ago perhaps; they are not waited for.
        self._open = self._settings.scheduler is not None
        self._client.register_plugin(WarmUp(self._warm_up, self._logging, self._gpus))
        return self

    def _engines_are_open(self) -> bool:
        """Whether every worker has said so; a successor's word counts for the one that died.

        One that hangs while it opens them is waited for as long as for a job that hangs: then jobs go out all the same,
        and the one that it gets finds out.
        """
        if not self._open:
            seconds = time.monotonic() - self._entered
            said = {address for _, address in self.client.get_events(READY)}
            self._open = len(said) >= self._settings.count or seconds > self._settings.time_limit.total_seconds()
            if self._open:
                log.info("workers_ready", seconds=round(seconds, 2), workers=len(said))
        return self._open

    def _local_cluster(self) -> LocalCluster:
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LocalCluster(
            n_workers=self._settings.count,
            threads_per_worker=1,
            processes=True,
            memory_limit=self._settings.memory_limit.replace(" ", ""),
            host="127.0.0.1",
            security=True,  # certificates of this run: other local users cannot submit code to our workers
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # its health page; else always port 8787
            worker_dashboard_address=None,
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
                log.warning("workers_not_ended_in_time")

    @property
    def slots(self) -> int:
        """How many jobs may run at once: one per worker thread that is there."""
        if self._cluster is not None:
            return self._settings.count
        threads = self.client.nthreads()
        return sum(threads.values())

    @property
    def client(self) -> Client:
        """The Dask client; only between enter and exit."""
        if self._client is None:
            raise RuntimeError("the worker pool is not started")
        return self._client

    @property
    def free(self) -> int:
        """How many more jobs can be submitted now; none until the engines are open, whose plans may take minutes."""
        if not self._engines_are_open():
            return 0
        with self._lock:
            return max(0, self.slots - len(self._running))

    @property
    def running(self) -> tuple[str, ...]:
        """Ids of the jobs that have not come home."""
        with self._lock:
            return tuple(self._running)

    def submit(self, job: JobDescription) -> None:
        """Starts a job on a free worker."""
        future = self.client.submit(_perform, job, key=f"{job.job_id}-{time.monotonic_ns()}", pure=False, retries=0)
        with self._lock:
            self._running[job.job_id] = (future, time.monotonic())
        future.add_done_callback(lambda _: self._on_return())

    def returned(self) -> Iterator[Return]:
        """What has come home since the last call; ends jobs that are over the time limit and yields them as lost."""
        limit = self._settings.time_limit.total_seconds()
        with self._lock:
            running = dict(self._running)
        for job_id, (future, started) in running.items():
            if future.done():
                answer = self._answer(job_id, future)
            elif time.monotonic() - started > limit:
                self._kill_worker_of(future)
                answer = Lost(job_id, f"took longer than the time limit of {limit:.0f} s; its worker was replaced")
            else:
                continue
            with self._lock:
                self._running.pop(job_id, None)
            future.release()
            yield answer

    def cancel(self, job_id: str) -> None:
        """Stops a job at once by replacing its worker process; it does not come home any more."""
        with self._lock:
            entry = self._running.pop(job_id, None)
        if entry is not None:
            self._kill_worker_of(entry[0])
            entry[0].release()

    def _answer(self, job_id: str, future: Any) -> Return:
        match _result(job_id, future):
            case _Stranded(worker, reason):
                self._replace([worker])
                return Lost(job_id, f"{reason.rstrip('.')}; its worker was replaced")
            case answer:
                return answer

    def _kill_worker_of(self, future: Any) -> None:
        try:
            processing = self.client.processing()
            addresses = [address for address, keys in processing.items() if future.key in keys]
            future.cancel(force=True)
        except Exception as error:  # the scheduler is slow or away: the job is given up all the same
            log.warning("worker_not_replaced", reason=f"{type(error).__name__}: {error}")
        else:
            self._replace(addresses)

    def _replace(self, addresses: list[str]) -> None:
        try:
            if addresses:
                log.warning("worker_replaced", workers=addresses)
                self.client.restart_workers(addresses, timeout=_RESTART_TIMEOUT, raise_for_error=False)
        except Exception as error:
            log.warning("worker_not_replaced", reason=f"{type(error).__name__}: {error}")


def _result(job_id: str, future: Any) -> Return | _Stranded:
    if future.status in {"cancelled", "lost"}:  # such a future has no exception, and raises when asked for its result
        return Lost(job_id, "its worker was lost")
    try:
        error = future.exception(timeout=_FETCH_TIMEOUT)
        match error:
            case None:
                result = future.result(timeout=_FETCH_TIMEOUT)
                return result if isinstance(result, _Stranded) else Finished(job_id, result)
            case KilledWorker():
                return Lost(job_id, "its worker process died (crash or memory limit)")
            case _:
                return Failed(job_id, f"{type(error).__name__}: {error}")
    except Exception as error:  # the worker died between finishing and handing over
        return Lost(job_id, f"its answer could not be fetched ({type(error).__name__})")
