"""In which order engines are tried: by what the processor does well, and by time where that does not say it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import structlog

from engines.contract import PIECE_BYTES, Arrays, Engine, Precision
from engines.gate import reference_feeds
from engines.machine import Processor, this_processor
from engines.packages.package import ModelPackage
from engines.private_files import private_folder, write_atomically

log = structlog.get_logger(__name__)

Tier = tuple[tuple[str, Precision], ...]
"""Backends and precisions whose order is not known beforehand."""

GPU: tuple[Tier, ...] = ((("tensorrt", "int8"),), (("tensorrt", "fp16"),), (("tensorrt", "fp32"),))
FP32: Tier = (("openvino", "fp32"), ("onnxruntime", "fp32"))

ROUNDS = 3
SAMPLES = 8
"""Per timed call: how slices come. Of volumes one."""
MARGIN = 1.15
"""How much faster another engine must be to go before the one that comes first by what is known of the processor."""


def tiers(processor: Processor) -> tuple[Tier, ...]:
    """Engines for all that a machine with this processor may have, best first.

    On x86-64 eight bits take half the time of 32 even where their products have to be added in 16, and bfloat16, where
    the processor computes in it, is next (docs/lab/engine-speed.md). Others were not measured: time decides.
    """
    if processor.known:
        return (*GPU, (("openvino", "int8"),), (("openvino", "bf16"),), FP32)
    return (*GPU, (("openvino", "int8"), ("openvino", "bf16"), *FP32))


def rivals(engine: Engine, others: Sequence[Engine]) -> list[Engine]:
    """Those of `others` that may be faster than this one."""
    return [one for one in others if tied(label(engine), label(one))]


def tied(first: str, second: str) -> bool:
    """Whether it is not known which of two engines, by their labels, is faster on this processor."""
    named = [{" ".join(name) for name in tier} for tier in tiers(this_processor())]
    return first != second and any({first, second} <= tier for tier in named)


def fastest(first: str, times: Mapping[str, float]) -> str:
    """The label of the engine that serves, of those with a time: `first`, unless another one is clearly faster."""
    best = min(times, key=times.__getitem__, default=first)
    return best if first not in times or times[best] * MARGIN < times[first] else first


def milliseconds(engines: Sequence[Engine]) -> list[float]:
    """What a sample takes each of these open engines, the least of a few calls, in turns: others work here too."""
    feeds = _usual_feeds(engines[0].package) if engines else {}
    times: list[list[float]] = [[] for _ in engines]
    for _ in range(1 + ROUNDS):  # the first is not counted
        for engine, taken in zip(engines, times, strict=True):
            started = time.perf_counter()
            engine.infer(feeds)
            taken.append(time.perf_counter() - started)
    count = max(1, len(next(iter(feeds.values()), ())))
    return [min(taken[1:]) * 1e3 / count for taken in times]


def _usual_feeds(package: ModelPackage) -> Arrays:
    feeds = reference_feeds(package)
    sample = sum(array[:1].nbytes for array in feeds.values())
    count = max(1, min(SAMPLES, PIECE_BYTES // sample)) if not package.manifest.inputs[0].volumetric else 1
    return {name: np.ascontiguousarray(np.resize(one, (count, *one.shape[1:]))) for name, one in feeds.items()}


class Times:
    """The measured milliseconds of a package's engines, kept beside the gate's answers: measured once per machine.

    Args:
        cache_dir: As in EngineSettings.
        engines: The rivals; other versions, threads or processors are measured anew.
    """

    def __init__(self, cache_dir: Path, engines: Sequence[Engine]) -> None:
        package, versions = engines[0].package, [(label(one), one.description.version) for one in engines]
        question = (package.digest, str(this_processor()), engines[0].settings.threads, sorted(versions))
        name = hashlib.sha256(repr(question).encode()).hexdigest()[:32]
        self._file = private_folder(cache_dir, "times") / f"{package.name}-{name}.json"

    def read(self) -> dict[str, float] | None:
        """Milliseconds by "backend precision"; None before they were measured."""
        try:
            found = json.loads(self._file.read_bytes())
            return {str(name): float(value) for name, value in found.items()}
        except FileNotFoundError:
            return None
        except (ValueError, AttributeError, TypeError) as error:
            log.warning("times_damaged", file=self._file.name, reason=str(error))
            return None

    def write(self, found: Mapping[str, float]) -> None:
        """Keeps them."""
        try:
            write_atomically(self._file, json.dumps(found, indent=1).encode())
        except OSError as error:  # a full disk costs time at the next start, not service now
            log.warning("times_not_kept", file=self._file.name, reason=str(error))


def label(engine: Engine) -> str:
    """How an engine is called in tables and files."""
    return f"{engine.backend} {engine.settings.precision}"
