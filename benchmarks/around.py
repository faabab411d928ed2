"""Where a study's time in the worker goes, step by step: how much of it is the network, and how much lies around it.

    python -m benchmarks.around [--case ct|flair|volume ...] [--repeat N] [--models FOLDER] [--cpu] [--profile]

Phantoms through the very function that a worker runs, engines open and everything warmed up as after a start. A step's
time is what it takes itself: what a step within it takes is counted there. Networks also work in threads beside: the
row of the wait is the time that a study stands still for them, the row below what they work in all (two at a time count
once); around the network is when none works. `--cpu` counts the processor's time, not the clock's, for a machine that
is busy otherwise; networks are then asked in turn, and their time is divided by their threads. `--profile` prints
cProfile's list.
"""

from __future__ import annotations

import argparse
import cProfile
import functools
import importlib
import logging
import os
import pstats
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dask
import distributed  # noqa: F401 - brings its configuration
import structlog
from rich.console import Console

from daemon.terminal.tables import plain_table
from daemon.workers.pool import DASK
from daemon.workers.task import give_back_memory
from engines.contract import EngineSettings
from engines.machine import usable_cores
from pipelines import networks
from pipelines.brain import glioma as brain_mr
from pipelines.job import EngineChoice, JobDescription
from pipelines.phantoms.dicom import write_phantom
from pipelines.registry import model_digest, packages_for, pipeline_named
from pipelines.worker import JobRunner

NETWORK = "wait for the network"
WORKING = "the network works"
AROUND = 0.40  # of a study's worker time: what may lie around the network

STEPS: Mapping[str, Sequence[str]] = {
    "read images": ["pipelines.worker:load_volume"],
    "open the study, register": ["pipelines.brain.glioma:align_study"],
    "find the brain": ["pipelines.brain.by_volume:find_brain"],
    "classify beside": ["pipelines.brain.glioma:classify_study"],
    "sample, standardise": ["pipelines.brain.by_volume:sample", "pipelines.brain.by_volume:standardise"],
    "prepare slices": [
        "pipelines.preprocess:BrainSlices.__init__",
        "pipelines.preprocess:BrainSlices.inputs",
        "pipelines.preprocess:CTSlices.inputs",
        "pipelines.brain.by_slice:resample_onto",
        "pipelines.brain.volume:NeighbourSlices.__init__",
        "pipelines.brain.volume:NeighbourSlices.inputs",
    ],
    NETWORK: ["engines.choose:ChosenEngine.infer", "pipelines.networks:_finished", "pipelines.brain.glioma:_awaited"],
    "activation": ["pipelines.networks:probabilities"],
    "back on the source grid": ["pipelines.preprocess:PreparedSlices.restore", "pipelines.brain.by_volume:restore"],
    "largest organ": ["pipelines.abdomen.liver:keep_largest_component"],
    "lesions": [
        "pipelines.abdomen.liver:split_components",
        "pipelines.brain.by_slice:split_components",
        "pipelines.brain.by_volume:split_components",
    ],
    "measure": [
        "pipelines.abdomen.liver:measure_region",
        "pipelines.brain.by_slice:measure_region",
        "pipelines.brain.by_volume:measure_region",
    ],
    "encode SEG": ["pipelines.results.segments:region_masks", "pipelines.results.segments:encode_segmentation"],
    "read SEG back": ["pipelines.results.segments:verify_segmentation"],
    "write files": ["pipelines.results.writer:write_result"],
    "encode report": ["pipelines.results.report:encode_report", "pipelines.results.report:report_content"],
    "key images": ["pipelines.results.encode:key_slices", "pipelines.results.encode:encode_key_images"],
    "pictures": ["pipelines.results.encode:save_pictures"],
}
"""Step -> the functions that make it up, where they are called from."""


@dataclass(frozen=True)
class Case:
    """A phantom and what of it goes in."""

    title: str
    pipeline: str
    roles: tuple[str, ...]
    slices: int
    matrix: int


CASES = {
    "ct": Case("Abdominal CT, 300 slices of 512 x 512", "abdomen-ct", ("ct",), 300, 512),
    "flair": Case("Brain FLAIR, 40 slices of 256 x 256", "brain-mr", ("flair",), 40, 256),
    "volume": Case("Four brain sequences, 40 slices each", "brain-mr", ("flair", "t1", "t1ce", "t2"), 40, 256),
}


class Stopwatch:
    """Seconds per step; a step's clock stands still while another one within it runs.

    Attributes:
        seconds: Of the thread that made it.
        working: Of the network, in whatever thread.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.working = 0.0
        self._thread = threading.get_ident()
        self._clock = clock
        self._stack: list[str] = []
        self._since = 0.0
        self._lock = threading.Lock()
        self._at_work = 0
        self._started = 0.0

    def wrap(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with the clock running."""
        infers = function.__name__ == "infer"

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            own = threading.get_ident() == self._thread
            if own:
                self._switch(step)
            self._count(infers)
            try:
                return function(*arguments, **options)
            finally:
                self._count(-infers)
                if own:
                    self._switch(None)

        return timed

    def _count(self, change: int) -> None:
        """A network begins (1) or ends (-1) its work; where several work, time counts from the first to the last."""
        with self._lock:
            if change > 0 and self._at_work == 0:
                self._started = self._clock()
            self._at_work += change
            if change < 0 and self._at_work == 0:
                self.working += self._clock() - self._started

    def _switch(self, step: str | None) -> None:
        now = self._clock()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._since = now
        if step is None:
            self._stack.pop()
        else:
            self._stack.append(step)


def in_turn(feeds: Iterable[tuple[Any, Any]], infer: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
    """Stands in for `networks._overlapped`: the processor's time tells steps apart only while no two of them run."""
    for span, feed in feeds:
        yield span, infer(feed)


@contextmanager
def asked_later(ask: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    """Stands in for `brain_mr._in_background`, for the same reason."""
    yield ask


@contextmanager
def watched(clock: Callable[[], float], *, overlapping: bool = True) -> Iterator[Stopwatch]:
    """Times every function of `STEPS` while it is entered."""
    watch = Stopwatch(clock)
    originals: list[tuple[Any, str, Any]] = []
    if not overlapping:
        for module, name, instead in ((networks, "_overlapped", in_turn), (brain_mr, "_in_background", asked_later)):
            originals.append((module, name, getattr(module, name)))
            setattr(module, name, instead)
    for step, places in STEPS.items():
        for place in places:
            home, _, path = place.partition(":")
            owner: Any = importlib.import_module(home)
            *outer, name = path.split(".")
            for part in outer:
                owner = getattr(owner, part)
            originals.append((owner, name, getattr(owner, name)))
            setattr(owner, name, watch.wrap(step, originals[-1][2]))
    try:
        yield watch
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def job_of(case: Case, folder: Path, settings: EngineSettings, models: tuple[Path, ...]) -> JobDescription:
    """Writes the phantom, and makes the job that a worker would get."""
    stage = folder / "dicom"
    write_phantom(case.pipeline, stage, slices=case.slices, matrix=case.matrix)
    pipeline = pipeline_named(case.pipeline)
    packages = packages_for(pipeline, models)
    return JobDescription(
        job_id="benchmark",
        pipeline=case.pipeline,
        inputs={role: tuple(map(str, sorted((stage / role).glob("*.dcm")))) for role in case.roles},
        inputs_digest="benchmark",
        model_digest=model_digest(pipeline, packages),
        models={slot: EngineChoice(str(package.folder), settings) for slot, package in packages.items()},
        output=str(folder / "out"),
        created=datetime.now(UTC),
    )


def measure(runner: JobRunner, job: JobDescription, repeat: int, *, cpu: bool) -> tuple[dict[str, float], str]:
    """Median seconds per step, `other` for what no step covers, `WORKING` for the network's; and what was found."""
    clock = time.process_time if cpu else time.perf_counter
    threads = max(choice.settings.threads or 1 for choice in job.models.values()) if cpu else 1
    runs = []
    outcome = runner.run(job)  # opens engines, loads tables and decoders
    if outcome.refused:
        raise SystemExit(f"the phantom was refused: {outcome.refused}")
    for _ in range(repeat):
        with watched(clock, overlapping=not cpu) as watch:
            started = clock()
            outcome = runner.run(job)
            give_back_memory()  # as `daemon.workers.task.run_task` does
            total = clock() - started
        other = total - sum(watch.seconds.values())
        waiting, working = watch.seconds[NETWORK] / threads, watch.working / threads
        runs.append({**watch.seconds, NETWORK: waiting, "other": other, WORKING: working})
    steps = sorted({step for run in runs for step in run}, key=[*STEPS, "other", WORKING].index)
    return {step: statistics.median(run.get(step, 0.0) for run in runs) for step in steps}, outcome.summary


def show(console: Console, case: Case, steps: Mapping[str, float], found: str) -> None:
    """Prints a case's table."""
    steps = dict(steps)
    working = steps.pop(WORKING)
    total = sum(steps.values())
    around = 1 - working / total
    table = plain_table("Step", ">Seconds", ">Share", title=case.title)
    for step, seconds in steps.items():
        table.add_row(step, f"{seconds:.3f}", f"{seconds / total:.1%}", style="bold" if step == NETWORK else "")
    table.add_row(WORKING, f"{working:.3f}", f"{working / total:.1%}", style="bold")
    table.add_row("in all", f"{total:.3f}", "", style="bold")
    table.add_row(f"around the network (<= {AROUND:.0%})", f"{total * around:.3f}", f"{around:.1%}", style="bold")
    console.print(table)
    console.print(found, style="dim")


def profile(console: Console, runner: JobRunner, job: JobDescription) -> None:
    """Prints what cProfile says of one run, by own time."""
    runner.run(job)
    profiler = cProfile.Profile()
    profiler.runcall(runner.run, job)
    pstats.Stats(profiler, stream=console.file).sort_stats("tottime").print_stats(30)


def as_worker() -> None:
    """Starts this command anew in the environment that workers are given: BLAS has one thread there."""
    dask.config.set(DASK)
    wanted = dask.config.get("distributed.nanny.pre-spawn-environ").items()
    given = {name: str(value) for name, value in wanted if value is not None}
    if any(os.environ.get(name) != value for name, value in given.items()):
        command = [sys.executable, "-m", "benchmarks.around", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **given})  # noqa: S606 - there is no shell to mind


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=CASES, help="only this one (may be repeated)")
    parser.add_argument("--repeat", type=int, default=3, help="timed runs, after one that is not; medians are shown")
    parser.add_argument("--slices", type=int, help="instead of the case's own number")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--models", type=Path, action="append", default=[], help="folder of further packages")
    parser.add_argument("--cpu", action="store_true", help="the processor's time, not the clock's")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console(width=None if Console().is_terminal else 100)
    settings = EngineSettings(threads=options.threads)
    for name in options.case or CASES:
        case = CASES[name]
        if options.slices:
            case = replace(case, slices=options.slices, title=f"{case.title} (here {options.slices})")
        with tempfile.TemporaryDirectory(prefix="scanward-around-") as folder, JobRunner() as runner:
            job = job_of(case, Path(folder), settings, tuple(options.models))
            if options.profile:
                profile(console, runner, job)
            else:
                show(console, case, *measure(runner, job, options.repeat, cpu=options.cpu))


if __name__ == "__main__":
    as_worker()
    main()
