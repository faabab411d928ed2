"""The task that a worker process runs, and the five results that it can have."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distributed import KilledWorker, get_worker

from daemon.jobs.disk_space import is_disk_full
from engines.errors import DeviceLost

if TYPE_CHECKING:
    from pipelines.job import JobDescription, Outcome

_FETCH_TIMEOUT = 60


@dataclass(frozen=True)
class Finished:
    """The job ran: what it found, or why it was refused."""

    job_id: str
    outcome: Outcome


@dataclass(frozen=True)
class Failed:
    """The worker raised an error: our bug, or an unforeseen input. Trying again would give the same.

    `kind` is the name of the error's class.
    """

    job_id: str
    reason: str
    kind: str = "Failed"


@dataclass(frozen=True)
class WorkerLost:
    """The worker died or was killed (crash, memory, time limit): worth one more try."""

    job_id: str
    reason: str


@dataclass(frozen=True)
class DiskFull:
    """The disk was full: no fault of the job, which waits until there is space."""

    job_id: str
    reason: str


TaskResult = Finished | Failed | WorkerLost | DiskFull


@dataclass(frozen=True)
class DeviceGone:
    """The device (GPU) of the job failed: its worker has to be replaced."""

    reason: str


def perform(job: JobDescription) -> Outcome:
    """Runs a job with what this worker process keeps open, which its Dask plugin `WarmUp` holds."""
    from daemon.workers.warm_up import WarmUp  # imports the code of the pipelines, which only workers need

    plugin: WarmUp = get_worker().plugins[WarmUp.name]
    return plugin.runner.run(job)


def run_task(job: JobDescription) -> Outcome | DeviceGone | DiskFull:
    """Runs in the worker. What happens to a device or a disk is no fault of the job, which is tried again."""
    try:
        return perform(job)
    except DeviceLost as error:
        return DeviceGone(str(error))
    except Exception as error:
        if is_disk_full(error):
            return DiskFull(job.job_id, f"no space on the disk ({type(error).__name__})")
        raise
    finally:
        give_back_memory()


def give_back_memory() -> None:
    """Returns what is free to the system (glibc; elsewhere nothing): a worker that waits for jobs needs none of it."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def result_of(job_id: str, future: Any) -> TaskResult | DeviceGone:
    """The result of a Dask future that is done."""
    if future.status in {"cancelled", "lost"}:  # such a future has no exception, and raises when asked for its result
        return WorkerLost(job_id, "its worker was lost")
    try:
        error = future.exception(timeout=_FETCH_TIMEOUT)
        match error:
            case None:
                result = future.result(timeout=_FETCH_TIMEOUT)
                return result if isinstance(result, (DeviceGone, DiskFull)) else Finished(job_id, result)
            case KilledWorker():
                return WorkerLost(job_id, "its worker process died (crash or memory limit)")
            case _:
                return Failed(job_id, f"{type(error).__name__}: {error}", kind=type(error).__name__)
    except Exception as error:  # the worker died between finishing and handing over its result
        return WorkerLost(job_id, f"its result could not be fetched ({type(error).__name__})")
