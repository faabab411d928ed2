"""What each default of the OpenVINO engine is worth: as it is, and with one of them changed, in turns.

    python -m benchmarks.processor [--package NAME ...] [--batch N] [--rounds N] [--precision bf16]

Contenders take turns call by call, in another order every round, so the ratios hold on a busy machine too; the
processor's own time (all threads) is shown beside the clock's, because it knows little of what else runs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

from rich.console import Console

from daemon.terminal.tables import plain_table
from engines.backends.onnxruntime.engine import OnnxRuntimeEngine
from engines.backends.openvino.engine import OpenVinoEngine
from engines.benchmark.measuring import tiled
from engines.contract import Arrays, Engine, EngineSettings
from engines.machine import usable_cores
from engines.packages.package import ModelPackage, find_packages, shipped_folder


class NotFolded(OpenVinoEngine):
    """The network as the package has it."""

    def _rewrite(self, model: Any) -> None: ...


class OneStream(OpenVinoEngine):
    """All threads on one sample, instead of a sample for each."""

    @property
    def _streams(self) -> int:
        return 1


class Pinned(OpenVinoEngine):
    """Threads that stay on their cores."""

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "ENABLE_CPU_PINNING": True}


class Hinted(OpenVinoEngine):
    """As many streams and threads as OpenVINO thinks right for throughput."""

    ours: ClassVar[tuple[str, ...]] = ("NUM_STREAMS", "ENABLE_CPU_PINNING")

    def _options(self) -> dict[str, Any]:
        return {key: value for key, value in super()._options().items() if key not in self.ours}


CONTENDERS: dict[str, type[Engine]] = {
    "as it is": OpenVinoEngine,
    "not folded": NotFolded,
    "one stream": OneStream,
    "pinned": Pinned,
    "OpenVINO's own choice": Hinted,
    "ONNX Runtime FP32": OnnxRuntimeEngine,
}


def measure(
    package: ModelPackage, *, batch: int, rounds: int, precision: str, threads: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds of each contender's calls by the clock and by the processor, both in the order of the rounds."""
    feeds = tiled(package, batch)
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in CONTENDERS}
    with ExitStack() as stack:
        engines = {}
        for name, kind in CONTENDERS.items():
            reference = kind is OnnxRuntimeEngine
            settings = EngineSettings.model_validate(
                {
                    "backend": "onnxruntime" if reference else "openvino",
                    "precision": "fp32" if reference else precision,
                    "threads": threads,
                }
            )
            engines[name] = stack.enter_context(kind(package, settings))
            engines[name].infer(feeds)
        order, chance = list(engines.items()), random.Random(0)  # noqa: S311 - no secret
        for _ in range(rounds):
            chance.shuffle(order)  # or one of them would always find the caches that the slowest left behind
            for name, engine in order:
                clock, processor = _seconds(engine, feeds)
                found[name][0].append(clock)
                found[name][1].append(processor)
    return found


def _seconds(engine: Engine, feeds: Arrays) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    engine.infer(feeds)
    return time.perf_counter() - clock, time.process_time() - processor


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table per package; ratios are of medians, against the engine as it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", action="append", help="only this one (may be repeated)")
    parser.add_argument("--batch", type=int, default=16, help="slices a call; volumes go one by one")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--threads", type=int, default=usable_cores())
    options = parser.parse_args(arguments)
    console = Console(width=None if Console().is_terminal else 100)
    packages = find_packages(shipped_folder())
    for name in options.package or packages:
        package = packages[name]
        batch = 1 if package.manifest.inputs[0].volumetric else options.batch
        found = measure(
            package, batch=batch, rounds=options.rounds, precision=options.precision, threads=options.threads
        )
        table = plain_table("Contender", ">ms", ">ratio", ">processor ms", ">ratio", title=f"{name}, {batch} a call")
        base = [statistics.median(times) for times in found["as it is"]]
        for contender, columns in found.items():
            clock, processor = (statistics.median(times) for times in columns)
            table.add_row(
                contender,
                f"{clock * 1e3:.1f}",
                f"{clock / base[0]:.2f}",
                f"{processor * 1e3:.1f}",
                f"{processor / base[1]:.2f}",
            )
        console.print(table)


if __name__ == "__main__":
    main()
