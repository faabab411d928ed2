"""Which engine serves a package on this machine: the fastest that passes the gate."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import structlog

from engines.backends.onnxruntime.engine import OnnxRuntimeEngine
from engines.backends.openvino.engine import OpenVinoEngine
from engines.backends.tensorrt.engine import TensorRtEngine
from engines.contract import Arrays, BuildProgress, Engine, EngineDescription, EngineSettings, Precision
from engines.errors import DeviceLost, EngineNotOpen, EngineRefused, InferenceFailed, NoEngine, PlanMissing
from engines.gate import Agreement, admit, compare, reference_feeds
from engines.machine import this_processor
from engines.order import Times, fastest, label, milliseconds, rivals, tied, tiers
from engines.packages.package import ModelPackage
from engines.plans import PlanStore

log = structlog.get_logger(__name__)

BACKENDS: dict[str, type[Engine]] = {
    "tensorrt": TensorRtEngine,
    "openvino": OpenVinoEngine,
    "onnxruntime": OnnxRuntimeEngine,
}


def open_engine(
    package: ModelPackage,
    settings: EngineSettings | None = None,
    progress: BuildProgress | None = None,
    *,
    build: bool = True,
) -> Engine:
    """Opens the fastest engine that passes the admission gate; use it as a context manager, or close it.

    The order is what the processor does well (`engines.order.tiers`). A named backend or precision is taken by its
    word: if it is refused there is no other. With a `cache_dir`, what was built and found out is kept there, and the
    next opening takes a second; engines whose order is not known beforehand are timed, once.

    Args:
        package: What to serve.
        settings: Default settings if None.
        progress: Called with the engine that is tried and the share of its plan that is built.
        build: Whether plans may be built, which takes minutes; else an engine without a stored one is passed over.

    Raises:
        NoEngine: Every engine was refused; carries each reason.
        PackageError: The network is not what model.yaml says.
    """
    settings = settings or EngineSettings()
    engine = ChosenEngine(package, settings, candidates(package, settings, progress), progress, build=build)
    engine.open()
    return engine


def candidates(package: ModelPackage, settings: EngineSettings, progress: BuildProgress | None = None) -> list[Engine]:
    """The engines that may serve, best first, none of them open."""
    return [
        BACKENDS[name](package, settings.model_copy(update={"backend": name, "precision": precision}), progress)
        for name, precision in _order(settings)
        if settings.precision != "auto" or _offers(package, name, precision)
    ]


def _order(settings: EngineSettings) -> list[tuple[str, Precision]]:
    backends = list(BACKENDS) if settings.backend == "auto" else [settings.backend]
    if settings.precision != "auto":
        return [(backend, settings.precision) for backend in backends]
    known = [named for tier in tiers(this_processor()) for named in tier]
    return [(backend, precision) for backend, precision in known if backend in backends]


def engines_to_compare(package: ModelPackage, settings: EngineSettings) -> list[Engine]:
    """As `candidates`, and TensorRT in the INT8 that it makes by the package's calibration.

    That one serves only where it is named: it has not been measured yet to be faster than FP16 (docs/engines.md).
    """
    engines = candidates(package, settings)
    asked = settings.precision == "auto" and settings.backend in {"auto", "tensorrt"}
    if asked and package.manifest.calibration and not _offers(package, "tensorrt", "int8"):
        after = 1 + max(number for number, engine in enumerate(engines) if engine.backend == "tensorrt")
        named = settings.model_copy(update={"backend": "tensorrt", "precision": "int8"})
        engines.insert(after, TensorRtEngine(package, named))
    return engines


def _offers(package: ModelPackage, backend: str, precision: str) -> bool:
    """Whether a package may have a network for a backend to compute with in a precision."""
    variant = package.variant(precision)
    return precision != "int8" or (variant is not None and variant.suits(backend))


class ChosenEngine(Engine):
    """Tries engines in order; when the one that serves breaks during a call, the next one takes the call over."""

    backend: ClassVar[str] = "chosen"

    def __init__(
        self,
        package: ModelPackage,
        settings: EngineSettings,
        engines: Sequence[Engine],
        progress: BuildProgress | None = None,
        *,
        build: bool = True,
    ) -> None:
        super().__init__(package, settings, progress)
        self._engines = tuple(engines)
        self._build = build
        self._replacing = threading.Lock()
        self._current: Engine | None = None
        self._refusals: list[str] = []
        self._left: deque[Engine] = deque()

    @property
    def current(self) -> Engine:
        """The engine that serves."""
        if self._current is None:
            raise NoEngine(package=self.package.name, reasons="; ".join(self._refusals) or "not opened yet")
        return self._current

    def infer(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """As Engine.infer. A lost device is not survived: the process must be replaced."""
        with self._in_use():
            while True:
                engine = self.current
                try:
                    return engine.infer(feeds)
                except DeviceLost:
                    raise
                except EngineNotOpen:
                    if engine is self._current:
                        raise
                except InferenceFailed as error:
                    self._replace(engine, error)

    def _load(self) -> None:
        self._refusals, self._left = [], deque(self._engines)
        self._current = self._next(build=self._build)
        if self._current is None:
            raise NoEngine(package=self.package.name, reasons="; ".join(self._refusals))
        if self._build:
            self._prepare_others(self._current)

    def _prepare_others(self, serving: Engine) -> None:
        """What may have to take a call over on the same device, FP32 for an FP16 that overflows, is built as well."""
        for engine in self._engines[self._engines.index(serving) + 1 :]:
            if engine.backend == serving.backend:
                try:
                    engine.prepare()
                except EngineRefused as error:
                    log.info("engine_not_prepared", package=self.package.name, reason=str(error))

    def _unload(self) -> None:
        current, self._current = self._current, None
        if current is not None:
            current.close()

    def _next(self, *, build: bool) -> Engine | None:
        while self._left:
            engine = self._left.popleft()
            if not build and engine.builds:
                missing = PlanMissing(
                    backend=engine.backend, precision=engine.settings.precision, package=self.package.name
                )
                self._skip(engine, missing)
            elif self._admitted(engine):
                engine = self._fastest(engine) if build else engine
                log.info("engine_chosen", package=self.package.name, engine=str(engine.description))
                return engine
        return None

    def _admitted(self, engine: Engine) -> bool:
        """Opens an engine and asks the gate; closes one that is refused."""
        try:
            self._report_progress(engine, "loading", 0.0)
            engine.open()
            self._report_progress(engine, "admission gate", 1.0)
            admit(engine)
        except EngineRefused as error:
            engine.close()
            self._skip(engine, error)
            return False
        except BaseException:
            engine.close()
            raise
        return True

    def _fastest(self, first: Engine) -> Engine:
        """An open engine, or that one of its rivals that is clearly faster; without a cache folder nothing is timed."""
        cache_dir, others = self.settings.cache_dir, rivals(first, self._left)
        if cache_dir is None or not others:
            return first
        with PlanStore(cache_dir).locked():  # others' builds and timings would disturb ours
            times = self._times(first, others, cache_dir)
        chosen = fastest(label(first), times)
        for engine in others:
            if label(engine) == chosen and self._admitted(engine):
                first.close()
                self._left.remove(engine)
                self._left.appendleft(first)
                return engine
        return first

    def _times(self, first: Engine, others: Sequence[Engine], cache_dir: Path) -> Mapping[str, float]:
        """Milliseconds by label of those that may serve; kept, so that only the first start takes its time for it."""
        kept = Times(cache_dir, [first, *others])
        times = kept.read()
        if times is None:
            admitted = [first, *(engine for engine in others if self._admitted(engine))]
            times = dict(zip(map(label, admitted), milliseconds(admitted), strict=True))
            for engine in admitted[1:]:
                engine.close()
            log.info("engines_timed", package=self.package.name, milliseconds=times)
            kept.write(times)
        return times

    def _replace(self, broken: Engine, error: InferenceFailed) -> None:
        """Puts the next engine in the place of a broken one; another thread may have done so already."""
        with self._replacing:
            if self._current is not broken:
                return
            following = self._next(build=False)
            if following is None:
                raise error
            log.warning("engine_replaced", package=self.package.name, broken=str(broken.description), error=str(error))
            self._refusals.append(str(error).rstrip("."))
            self._current = following
        broken.close()

    def _report_progress(self, engine: Engine, phase: str, share: float) -> None:
        if self._progress is not None:
            self._progress(f"{engine.backend} {engine.settings.precision}, {phase}", share)

    def _skip(self, engine: Engine, error: EngineRefused) -> None:
        reason = str(error).rstrip(".")
        if reason not in self._refusals:  # what is not installed is so in every precision
            self._refusals.append(reason)
        log.info("engine_passed_over", package=self.package.name, backend=engine.backend, reason=str(error))

    def _run(self, pieces: Sequence[tuple[Arrays, Arrays]]) -> None:
        raise NotImplementedError("infer() hands the whole call to the chosen engine")

    def _describe(self) -> EngineDescription:
        return self.current.description

    @property
    def description(self) -> EngineDescription:
        """The serving engine's, with the reasons why better ones are not serving."""
        return replace(self.current.description, passed_over=tuple(self._refusals))


@dataclass(frozen=True)
class Verification:
    """One engine's parity, or why there is none; `problems` is empty for an engine that may serve.

    Attributes:
        milliseconds: What a sample takes it.
        chosen: Whether it is the one that serves on this machine.
    """

    backend: str
    precision: str
    description: EngineDescription | None
    agreement: Agreement | None
    problems: tuple[str, ...]
    milliseconds: float | None = None
    chosen: bool = False

    @property
    def label(self) -> str:
        """As tables call it."""
        return f"{self.backend} {self.precision}"


def verify(package: ModelPackage, settings: EngineSettings | None = None) -> list[Verification]:
    """Compares every candidate with ONNX Runtime FP32 on the reference inputs; stored gate results are not used."""
    settings = settings or EngineSettings()
    feeds = reference_feeds(package)
    plain = settings.model_copy(update={"backend": "onnxruntime", "precision": "fp32"})
    with OnnxRuntimeEngine(package, plain) as reference:
        found = [_verify(engine, reference, feeds) for engine in engines_to_compare(package, settings)]
    chosen = _choice(found, [label(engine) for engine in candidates(package, settings)])
    return [replace(one, chosen=one.label == chosen) for one in found]


def _choice(found: Sequence[Verification], order: Sequence[str]) -> str | None:
    """The label of the engine that serves, of those that may."""
    times = {one.label: one.milliseconds or 0.0 for one in found if not one.problems and one.label in order}
    if not times:
        return None
    first = min(times, key=order.index)
    return fastest(first, {name: time for name, time in times.items() if name == first or tied(first, name)})


def _verify(engine: Engine, reference: Engine, feeds: Arrays) -> Verification:
    precision = engine.settings.precision
    try:
        with engine:
            found = compare(engine, reference, feeds)
            problems = found.problems(engine.package.manifest.tolerance)
            (taken,) = milliseconds([engine]) if found.finite else (None,)
            return Verification(engine.backend, precision, engine.description, found, problems, taken)
    except (EngineRefused, InferenceFailed) as error:
        return Verification(engine.backend, precision, None, None, (str(error),))
