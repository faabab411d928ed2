"""How fast the contenders of one package are: they are opened together, and called in turn."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engines.benchmark.contender import Contender, Run
from engines.benchmark.memory import memory_of
from engines.contract import Arrays
from engines.errors import EngineError
from engines.gate import agreement, reference_feeds
from engines.packages.package import ModelPackage

WARM_UPS, LEAST_ROUNDS = 2, 3  # calls that are not timed, and the fewest that are


@dataclass(frozen=True)
class BenchmarkRow:
    """One row of the table; times are None where `problem` says why there are none.

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


@dataclass(frozen=True)
class MeasuringLimits:
    """Timed calls of each contender, seconds for a package and batch, and whether memory is measured too."""

    rounds: int
    seconds: float
    memory: bool


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what was measured until then."""

    def __init__(self, found: Sequence[BenchmarkRow]) -> None:
        super().__init__()
        self.found = tuple(found)


def tiled(package: ModelPackage, batch: int) -> Arrays:
    """The package's reference inputs, repeated to `batch` samples: real images, not noise, whose zeros count too."""
    return {
        name: np.ascontiguousarray(np.resize(array, (batch, *array.shape[1:])))
        for name, array in reference_feeds(package).items()
    }


def empty_row(package: ModelPackage, engine: str, precision: str, batch: int, problem: str = "") -> BenchmarkRow:
    """A row without figures."""
    unit = "volumes" if package.manifest.inputs[0].volumetric else "images"
    return BenchmarkRow(package.name, engine, precision, batch, problem=problem, unit=unit)


class OpenContenders:
    """A package's contenders, all open; the row of one that does not open says why."""

    def __init__(self, package: ModelPackage, contenders: Sequence[Contender], stack: ExitStack) -> None:
        self._package = package
        self._contenders = contenders
        self._runs: dict[int, Run] = {}
        self._problems: dict[int, str] = {}
        for number, contender in enumerate(contenders):
            try:
                self._runs[number] = stack.enter_context(contender.opening())
                self._runs[number](tiled(package, 1))
            except EngineError as error:
                self._runs.pop(number, None)
                self._problems[number] = str(error)

    def affordable(self, seconds: float) -> int:
        """Samples a call with which the fewest rounds end in time."""
        feeds = tiled(self._package, 1)
        started = time.perf_counter()
        for run in self._runs.values():
            run(feeds)
        sample = time.perf_counter() - started
        return max(1, int(seconds / ((WARM_UPS + LEAST_ROUNDS) * sample))) if sample > 0 else sys.maxsize

    def measure(self, batch: int, limits: MeasuringLimits) -> list[BenchmarkRow]:
        """A row for each contender.

        Raises:
            Interrupted: Ctrl-C; with the lines so far, from every round that was complete.
        """
        feeds = tiled(self._package, batch)
        times: dict[int, list[float]] = {}
        try:
            self._warm_up(feeds)
            times = {number: [] for number in self._runs}
            _measure_in_turn(self._runs, feeds, times, limits)
            answers = self._answers()
            counted = self._runs if limits.memory else ()
            sizes = {number: memory_of(self._contenders[number], feeds) for number in counted}
        except KeyboardInterrupt:
            lines = self._lines(batch, times, {}, {}) if times and all(times.values()) else []
            raise Interrupted(lines) from None
        return self._lines(batch, times, answers, sizes)

    def _warm_up(self, feeds: Arrays) -> None:
        for number, run in list(self._runs.items()):
            try:
                for _ in range(WARM_UPS):
                    run(feeds)
            except EngineError as error:  # too little memory for the whole batch, say
                del self._runs[number]
                self._problems[number] = str(error)

    def _answers(self) -> dict[int, Arrays]:
        reference = reference_feeds(self._package)
        return {number: run(reference) for number, run in self._runs.items() if self._contenders[number].comparable}

    def _lines(
        self,
        batch: int,
        times: dict[int, list[float]],
        answers: dict[int, Arrays],
        sizes: dict[int, float | None],
    ) -> list[BenchmarkRow]:
        truth = _reference_answer(self._contenders, answers)
        found = []
        for number, contender in enumerate(self._contenders):
            line = empty_row(
                self._package, contender.engine, contender.precision, batch, self._problems.get(number, "")
            )
            if number in self._runs:
                line = _with(_timed(line, times[number]), memory_mib=sizes.get(number))
            if truth is not None and number in answers:
                line = _compared(line, self._package, answers[number], truth)
            found.append(line)
        return found


def _measure_in_turn(
    runs: dict[int, Run], feeds: Arrays, times: dict[int, list[float]], limits: MeasuringLimits
) -> None:
    deadline = time.monotonic() + limits.seconds
    for turn in range(limits.rounds):
        if turn >= LEAST_ROUNDS and time.monotonic() > deadline:
            break
        for number, run in runs.items():
            started = time.perf_counter()
            run(feeds)
            times[number].append(time.perf_counter() - started)


def _reference_answer(contenders: Sequence[Contender], answers: dict[int, Arrays]) -> Arrays | None:
    for number, answer in answers.items():
        if (contenders[number].engine, contenders[number].precision) == ("onnxruntime", "fp32"):
            return answer
    return None


def _timed(line: BenchmarkRow, times: list[float]) -> BenchmarkRow:
    median, p95 = np.percentile(times, [50, 95])
    return _with(line, median_ms=median * 1e3, p95_ms=p95 * 1e3, per_second=line.batch / median)


def _compared(line: BenchmarkRow, package: ModelPackage, ours: Arrays, theirs: Arrays) -> BenchmarkRow:
    def copy(arrays: Arrays) -> Arrays:
        return {name: array.copy() for name, array in arrays.items()}

    found = agreement(package.manifest, copy(ours), copy(theirs))
    return _with(line, dice=found.least_dice, max_difference=found.max_difference)


def _with(line: BenchmarkRow, **changes: Any) -> BenchmarkRow:
    plain: dict[str, Any] = {key: float(v) if isinstance(v, np.floating) else v for key, v in changes.items()}
    return replace(line, **plain)
