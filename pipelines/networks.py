"""Networks as pipelines use them: opened once per process, fed in batches, answering on the source grid."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from engines.choose import open_engine
from engines.packages.activation import probabilities
from engines.packages.package import ModelPackage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.contract import Engine, EngineSettings
    from engines.packages.manifest import Manifest
    from pipelines.brain.volume import NeighbourSlices
    from pipelines.preprocess import PreparedSlices

log = structlog.get_logger(__name__)

BATCH = 16
"""Slices prepared, inferred and restored at once: memory does not grow with the length of the series."""

Progress = Callable[[str, float], None]
"""Called with the name of the step under way and its share done, 0 to 1."""


def no_progress(step: str, share: float) -> None:
    """Ignores progress."""


@dataclass(frozen=True)
class Network:
    """A package and the engine that serves it."""

    package: ModelPackage
    engine: Engine

    def predict(
        self, prepared: PreparedSlices, report: Callable[[float], None]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yields (first slice, probabilities (n, classes[, height, width])) batch by batch, on the network's grid."""
        yield from self.predict_slices(prepared, np.arange(len(prepared)), report)

    def predict_one(self, sample: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (classes, ...) of one input (channels, ...): a volume that the network sees at once."""
        feed, answer = self.package.manifest.inputs[0].name, self.package.manifest.outputs[0].name
        outputs = self.engine.infer({feed: np.ascontiguousarray(sample[None])})
        return np.asarray(probabilities(self.package.manifest, outputs)[answer][0], np.float32)

    def predict_slices(
        self, prepared: PreparedSlices | NeighbourSlices, index: NDArray[np.intp], report: Callable[[float], None]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """As `predict`, for the runs of consecutive slices in `index` only."""
        feed, answer = self.package.manifest.inputs[0].name, self.package.manifest.outputs[0].name
        done = 0
        feeds = (((at, stop), {feed: np.ascontiguousarray(prepared.inputs(at, stop))}) for at, stop in spans(index))
        for (at, stop), outputs in _overlapped(feeds, self.engine.infer):
            done += stop - at
            report(done / max(1, len(index)))
            yield at, probabilities(self.package.manifest, outputs)[answer]


Feeds = dict[str, "NDArray[np.float32]"]
Span = tuple[int, int]


def _overlapped(
    feeds: Iterable[tuple[Span, Feeds]], infer: Callable[[Feeds], dict[str, Any]]
) -> Iterator[tuple[Span, dict[str, Any]]]:
    """Yields each span with its answer. While the network works on one batch, the next is prepared and the last used.

    One thread asks the network, batch after batch: answers are those of plain calls in turn, and come in their order.
    """
    with ThreadPoolExecutor(1, "network") as thread:
        under_way: tuple[Span, Future[dict[str, Any]]] | None = None
        for span, feed in feeds:
            before, under_way = under_way, (span, thread.submit(copy_context().run, infer, feed))  # logs name the job
            if before is not None:
                yield before[0], _finished(before[1])
        if under_way is not None:
            yield under_way[0], _finished(under_way[1])


def _finished(answer: Future[dict[str, Any]]) -> dict[str, Any]:
    """The answer, waited for."""
    return answer.result()


def spans(index: NDArray[np.intp]) -> Iterator[Span]:
    """(start, stop) of each batch of consecutive slices in `index`."""
    if index.size == 0:
        return
    for run in np.split(index, np.flatnonzero(np.diff(index) > 1) + 1):
        start, stop = int(run[0]), int(run[-1]) + 1
        yield from ((at, min(at + BATCH, stop)) for at in range(start, stop, BATCH))


class EnginePool:
    """Engines of this process, opened at first use and kept: weights are loaded once, not once per study.

    Of a package that was replaced in its folder, the engine that served the former one is closed when the new one is
    asked for: a device has no room for both.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[Path, EngineSettings], tuple[Manifest, Engine]] = {}
        self._lock = threading.Lock()

    def network(self, package: ModelPackage, settings: EngineSettings) -> Network:
        """The network of a package, opened if it is not open yet."""
        key = (package.folder.absolute(), settings)
        with self._lock:
            manifest, engine = self._open.get(key, (None, None))
            if engine is not None and manifest != package.manifest:
                log.info("engine_closed", package=package.name, reason="the package was replaced")
                del self._open[key]
                engine.close()
                engine = None
            if engine is None:
                engine = open_engine(package, settings)
                self._open[key] = (package.manifest, engine)
            return Network(package, engine)

    def close(self) -> None:
        """Closes every engine, after the calls under way; those that are asked for later are opened again."""
        with self._lock:
            while self._open:
                _, (_, engine) = self._open.popitem()
                engine.close()


class Networks(Mapping[str, "Network"]):
    """The networks of a job by slot; each is opened when it is first asked for, for most studies do not need them all.

    Args:
        packages: Slot -> package.
        open_slot: Opens the network of a package for its slot.
    """

    def __init__(self, packages: Mapping[str, ModelPackage], open_slot: Callable[[ModelPackage, str], Network]) -> None:
        self._packages = packages
        self._open_slot = open_slot

    def __getitem__(self, slot: str) -> Network:
        return self._open_slot(self._packages[slot], slot)

    def __contains__(self, slot: object) -> bool:
        return slot in self._packages

    def __iter__(self) -> Iterator[str]:
        return iter(self._packages)

    def __len__(self) -> int:
        return len(self._packages)
