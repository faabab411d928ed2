"""How fast each engine answers each package here, side by side in one run, and whether it still answers rightly."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from engines.choose import candidates
from engines.contract import Arrays, Engine, EngineSettings
from engines.errors import EngineError
from engines.gate import agreement, reference_feeds
from engines.package import ModelPackage

log = structlog.get_logger(__name__)

Run = Callable[[Arrays], Arrays]
OnProgress = Callable[[str, float], None]
"""Told what is being measured and the share of the run that is done, 0 to 1."""


@dataclass(frozen=True)
class Contender:
    """Something that runs a package's network.

    Attributes:
        engine: Column in the table: a backend, or "torch eager".
        precision: Same.
        opening: Opens it and gives its run function, and closes it; must be picklable for `memory`.
        comparable: Whether it has the package's weights, so that its answers mean something.
    """

    engine: str
    precision: str
    opening: Callable[[], AbstractContextManager[Run]]
    comparable: bool = True


@dataclass(frozen=True)
class Measurement:
    """One line of the table; times are None where `problem` says why there are none.

    Attributes:
        batch: Samples (slices, patches) per call.
        median_ms: Per call.
        p95_ms: Per call.
        per_second: Samples (`unit`) per second at the median.
        memory_mib: Largest resident memory beyond what the process had before opening.
        dice: Least Dice of a mask against ONNX Runtime FP32, reference inputs; None for classifiers.
        max_difference: Largest difference of a probability, same.
    """

    package: str
    engine: str
    precision: str
    batch: int
    median_ms: float | None = None
    p95_ms: float | None = None
    per_second: float | None = None
    memory_mib: float | None = None
    dice: float | None = None
    max_difference: float | None = None
    problem: str = ""
    unit: str = "images"


def benchmark(
    packages: Sequence[ModelPackage],
    settings: EngineSettings | None = None,
    *,
    batches: Sequence[int] | None = None,
    rounds: int = 15,
    seconds: float = 60.0,
    memory: bool = True,
    others: Callable[[ModelPackage], Sequence[Contender]] = lambda package: (),
    progress: OnProgress = lambda what, share: None,
) -> list[Measurement]:
    """Measures every engine that opens, and `others`, on every package and batch.

    Contenders take turns, so that whatever else the machine does slows all of them alike: trust the ratios.

    Args:
        packages: What to run.
        settings: Which backends and precisions, and how many threads.
        batches: Samples per call; by default 1 and 16 slices, or 1 volume.
        rounds: Timed calls of each contender, after two that are not.
        seconds: A batch is given up after this long, with the rounds that it has, at least three.
        memory: Also measure memory, each contender in a process of its own.
        others: What else to run on a package.
        progress: Told how far it is.
    """
    settings = settings or EngineSettings()
    found: list[Measurement] = []
    steps = [(package, batch) for package in packages for batch in batches or usual_batches(package)]
    for number, (package, batch) in enumerate(steps):
        progress(f"{package.name}, batch {batch}", number / len(steps))
        contenders = [*engine_contenders(package, settings), *others(package)]
        found += _measure(package, contenders, batch, rounds=rounds, seconds=seconds, memory=memory)
    progress("done", 1.0)
    return found


def usual_batches(package: ModelPackage) -> tuple[int, ...]:
    """How a pipeline feeds the network: volumes one by one, slices in batches."""
    return (1,) if package.manifest.inputs[0].volumetric else (1, 16)


def engine_contenders(package: ModelPackage, settings: EngineSettings) -> list[Contender]:
    """The engines that may serve the package, best first."""
    return [
        Contender(engine.backend, engine.settings.precision, partial(_engine_opening, engine.settings, package))
        for engine in candidates(package, settings)
    ]


def tiled(package: ModelPackage, batch: int) -> Arrays:
    """The package's reference inputs, repeated to `batch` samples: real images, not noise, whose zeros count too."""
    return {
        name: np.ascontiguousarray(np.resize(array, (batch, *array.shape[1:])))
        for name, array in reference_feeds(package).items()
    }


@contextmanager
def _engine_opening(settings: EngineSettings, package: ModelPackage) -> Any:
    engine: Engine
    (engine,) = candidates(package, settings)
    with engine:
        yield engine.infer


def _measure(
    package: ModelPackage, contenders: Sequence[Contender], batch: int, *, rounds: int, seconds: float, memory: bool
) -> list[Measurement]:
    feeds, reference = tiled(package, batch), reference_feeds(package)
    runs: dict[int, Run] = {}
    problems: dict[int, str] = {}
    with ExitStack() as stack:
        for number, contender in enumerate(contenders):
            try:
                runs[number] = stack.enter_context(contender.opening())
                for _ in range(2):
                    runs[number](feeds)
            except EngineError as error:
                runs.pop(number, None)
                problems[number] = str(error)
        times = _take_turns(runs, feeds, rounds, seconds)
        answers = {number: run(reference) for number, run in runs.items() if contenders[number].comparable}
    truth = _reference_answer(contenders, answers)
    found = []
    for number, contender in enumerate(contenders):
        unit = "volumes" if package.manifest.inputs[0].volumetric else "images"
        line = Measurement(package.name, contender.engine, contender.precision, batch, unit=unit)
        if number in problems:
            found.append(_with(line, problem=problems[number]))
            continue
        line = _timed(line, times[number])
        if truth is not None and number in answers:
            line = _compared(line, package, answers[number], truth)
        if memory:
            line = _with(line, memory_mib=_memory(contender, feeds))
        found.append(line)
    return found


def _take_turns(runs: dict[int, Run], feeds: Arrays, rounds: int, seconds: float) -> dict[int, list[float]]:
    times: dict[int, list[float]] = {number: [] for number in runs}
    deadline = time.monotonic() + seconds
    for turn in range(rounds):
        if turn >= 3 and time.monotonic() > deadline:
            break
        for number, run in runs.items():
            started = time.perf_counter()
            run(feeds)
            times[number].append(time.perf_counter() - started)
    return times


def _reference_answer(contenders: Sequence[Contender], answers: dict[int, Arrays]) -> Arrays | None:
    for number, answer in answers.items():
        if (contenders[number].engine, contenders[number].precision) == ("onnxruntime", "fp32"):
            return answer
    return None


def _timed(line: Measurement, times: list[float]) -> Measurement:
    median, p95 = np.percentile(times, [50, 95])
    return _with(line, median_ms=median * 1e3, p95_ms=p95 * 1e3, per_second=line.batch / median)


def _compared(line: Measurement, package: ModelPackage, ours: Arrays, theirs: Arrays) -> Measurement:
    def copy(arrays: Arrays) -> Arrays:
        return {name: array.copy() for name, array in arrays.items()}

    found = agreement(package.manifest, copy(ours), copy(theirs))
    return _with(line, dice=min(found.dice.values(), default=None), max_difference=found.max_difference)


def _with(line: Measurement, **changes: Any) -> Measurement:
    plain: dict[str, Any] = {key: float(v) if isinstance(v, np.floating) else v for key, v in changes.items()}
    return replace(line, **plain)


def _memory(contender: Contender, feeds: Arrays) -> float | None:
    """In a process of its own, because a process's high-water mark never goes down."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_report_memory, args=(contender, feeds, sender), daemon=True)
    child.start()
    sender.close()
    try:
        return float(receiver.recv())
    except EOFError:  # it died, of too little memory perhaps
        log.warning("memory_not_measured", engine=contender.engine, precision=contender.precision)
        return None
    finally:
        child.join()
        receiver.close()


def _report_memory(contender: Contender, feeds: Arrays, sender: Any) -> None:
    before = _high_water_mib()
    with contender.opening() as run:
        for _ in range(2):
            run(feeds)
    sender.send(_high_water_mib() - before)


def _high_water_mib() -> float:
    """Largest resident memory of this process; getrusage would count what the parent had before it started us."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
