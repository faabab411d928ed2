"""What a worker process does before its first job: takes its GPU, opens engines, runs each pipeline once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin

from daemon.logs import set_up_logs
from daemon.workers.roster import WorkerState
from pipelines.job import ModelChoices
from pipelines.warm_up import open_engines, run_on_phantoms
from pipelines.worker import JobRunner

if TYPE_CHECKING:
    from daemon.config import LoggingSection

PROGRESS = "scanward-workers"
"""Topic on which a worker says how far it is: {"worker": its address, "state": "opening" or "ready"}."""


class WarmUp(WorkerPlugin):  # type: ignore[misc]  # distributed ships no types
    """Opens engines and runs every pipeline once when a worker process starts, so that no study waits for that.

    Attributes:
        runner: Runs the jobs of this worker process, and holds all that it keeps between them; from `setup` on.
    """

    runner: JobRunner

    # A scheduler elsewhere keeps the plugin of an earlier daemon under its name: another one when it says other things.
    name = "scanward-warm-up-4"
    idempotent = True

    def __init__(self, choices: ModelChoices, logging_section: LoggingSection, gpus: tuple[int, ...]) -> None:
        self._choices = choices
        self._logging = logging_section
        self._gpus = gpus

    def setup(self, worker: Any) -> None:
        """Dask calls it in the worker's event loop, so it must return at once."""
        set_up_logs(self._logging.level, json_lines=self._logging.json_lines)
        self.runner = JobRunner(gpu_of(worker.name, self._gpus))
        threading.Thread(target=self._warm_up, args=(worker,), name="warm-up", daemon=True).start()

    def teardown(self, worker: Any) -> None:
        """Dask calls it when the worker is stopped in order."""
        self.runner.close()

    def _warm_up(self, worker: Any) -> None:
        _say(worker, WorkerState.OPENING)
        try:
            open_engines(self.runner, self._choices)
        finally:  # whatever happened: its jobs say what is wrong, each in its own words
            _say(worker, WorkerState.READY)
        run_on_phantoms(self.runner, self._choices)


def _say(worker: Any, state: WorkerState) -> None:
    worker.log_event(PROGRESS, {"worker": worker.address, "state": str(state)})


def gpu_of(name: object, gpus: tuple[int, ...]) -> int | None:
    """The GPU of a worker by its name, None for "as the job says".

    A local cluster numbers its workers, and one that is replaced keeps its number, so each has one GPU and always the
    same one. Workers of a scheduler elsewhere have names of their own; there CUDA_VISIBLE_DEVICES says whose is which.
    """
    return gpus[name % len(gpus)] if gpus and isinstance(name, int) else None
