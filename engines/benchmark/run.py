"""How fast each engine answers each package here, side by side in one run, and how far it is from the reference."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from engines.benchmark.contender import Contender
from engines.benchmark.measuring import BenchmarkRow, Interrupted, MeasuringLimits, OpenContenders, empty_row
from engines.choose import candidates, engines_to_compare
from engines.contract import PIECE_BYTES, Engine, EngineSettings
from engines.gate import reference_feeds
from engines.packages.package import ModelPackage

OnProgress = Callable[[str, float], None]
"""Called with what is being measured and the share of the run that is done, 0 to 1."""


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
) -> list[BenchmarkRow]:
    """Measures every engine that opens, and `others`, on every package and batch.

    Contenders take turns, so that whatever else the machine does slows all of them alike: trust the ratios.

    Args:
        packages: What to run.
        settings: Which backends and precisions, and how many threads.
        batches: Samples per call; by default 1 and 16 slices, or 1 volume.
        rounds: Timed calls of each contender, after two that are not.
        seconds: A batch is given up after this long, with the rounds that it has, at least three; it is made smaller
            if those would take longer. What is left out has a line that says why.
        memory: Also measure memory, each contender in a process of its own.
        others: What else to run on a package.
        progress: Called with what is being measured and the share done.

    Raises:
        Interrupted: Ctrl-C.
    """
    settings = settings or EngineSettings()
    limits = MeasuringLimits(rounds=rounds, seconds=seconds, memory=memory)
    found: list[BenchmarkRow] = []
    steps = [(package, batch) for package in packages for batch in batches or usual_batches(package)]
    try:
        for number, (package, batch) in enumerate(steps):
            progress(f"{package.name}, batch {batch}", number / len(steps))
            contenders = [*engine_contenders(package, settings), *others(package)]
            found += _bounded(package, contenders, batch, limits, found)
    except Interrupted as interruption:
        raise Interrupted([*found, *interruption.found]) from None
    except KeyboardInterrupt:
        raise Interrupted(found) from None
    progress("done", 1.0)
    return found


def largest_batch(package: ModelPackage) -> int:
    """Samples whose inputs go to a device at once: larger batches of volumes are the same work, one after the other."""
    if not package.manifest.inputs[0].volumetric:
        return sys.maxsize
    sample = sum(array[:1].nbytes for array in reference_feeds(package).values())
    return max(1, PIECE_BYTES // sample)


def usual_batches(package: ModelPackage) -> tuple[int, ...]:
    """How a pipeline feeds the network: volumes one by one, slices in batches."""
    return (1,) if package.manifest.inputs[0].volumetric else (1, 16)


def engine_contenders(package: ModelPackage, settings: EngineSettings) -> list[Contender]:
    """The engines that may serve the package, best first, those that are to be named among them."""
    return [
        Contender(engine.backend, engine.settings.precision, partial(_engine_opening, engine.settings, package))
        for engine in engines_to_compare(package, settings)
    ]


def _bounded(
    package: ModelPackage,
    contenders: Sequence[Contender],
    batch: int,
    limits: MeasuringLimits,
    before: Sequence[BenchmarkRow],
) -> list[BenchmarkRow]:
    """Measures the batch, or a smaller one that memory and time allow and a line that says why."""

    def left_out(least: int, why: str) -> BenchmarkRow:
        return empty_row(package, "left out", "", batch, f"{package.name}, {batch} a call, {least} instead: {why}")

    def known(least: int) -> bool:
        return any((line.package, line.batch) == (package.name, least) for line in before)

    least, notes = min(batch, largest_batch(package)), []
    if least < batch:
        notes = [left_out(least, "of inputs of this size an engine takes no more at once")]
    if notes and known(least):
        return notes
    with ExitStack() as stack:
        opened = OpenContenders(package, contenders, stack)
        affordable = opened.affordable(limits.seconds)
        if affordable < least:
            least, notes = affordable, [left_out(affordable, f"it would take longer than {limits.seconds:g} s")]
            if known(least):
                return notes
        return [*opened.measure(least, limits), *notes]


@contextmanager
def _engine_opening(settings: EngineSettings, package: ModelPackage) -> Any:
    engine: Engine
    (engine,) = candidates(package, settings)
    with engine:
        yield engine.infer
