"""From a package's network to a TensorRT plan: parser, profile, timing cache, progress. Needs no GPU to be started.

Networks are strongly typed, in TensorRT 10 as in 11: the precision is what the ONNX graph says, never what a builder
flag allows, so that the same package gives the same arithmetic everywhere.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import structlog

from engines.backends.tensorrt import int8
from engines.backends.tensorrt.fp16 import TOOL, can_halve, converter, halved
from engines.contract import BuildProgress, require_variant
from engines.errors import BuildFailed, PackageError, PrecisionMissing
from engines.libraries import import_tensorrt
from engines.packages.package import ModelPackage
from engines.plans import Built

log = structlog.get_logger(__name__)

BACKEND = "tensorrt"
PRECISIONS = ("fp32", "fp16", "int8")  # FP32 may use TensorFloat-32, which the gate judges


@dataclass(frozen=True)
class Profile:
    """Shapes that a plan is made for, per input."""

    name: str
    least: tuple[int, ...]
    best: tuple[int, ...]
    largest: tuple[int, ...]


def profiles(package: ModelPackage, max_batch: int) -> tuple[Profile, ...]:
    """One profile per input: any batch up to `max_batch`, and fastest at it.

    Raises:
        BuildFailed: The network has other free dimensions, for which no range is stated.
    """
    found = []
    for spec in package.manifest.inputs:
        free = [size for size in spec.shape[1:] if isinstance(size, str)]
        if free:
            raise BuildFailed(
                backend=BACKEND, package=package.name, reason=f"input {spec.name} has free dimensions {free}"
            )
        rest = tuple(size for size in spec.shape[1:] if isinstance(size, int))
        largest = max_batch if spec.shape[0] == "batch" else 1
        found.append(Profile(spec.name, (1, *rest), (largest, *rest), (largest, *rest)))
    return tuple(found)


def offers(package: ModelPackage, precision: str) -> bool:
    """Whether there is a network in that precision: FP32 always, FP16 and INT8 also made of the FP32 one."""
    try:
        require(package, precision)
    except PrecisionMissing:
        return False
    return True


def require(package: ModelPackage, precision: str) -> None:
    """As `offers`, with the reason.

    Raises:
        PrecisionMissing: There is no such precision, or no network in it.
    """
    if precision not in PRECISIONS:
        raise PrecisionMissing(backend=BACKEND, precision=precision, reason=f"it is one of {', '.join(PRECISIONS)}")
    if not _made_here(package, precision):
        require_variant(BACKEND, package, precision)
    elif not can_halve():
        needed = f"{package.name} brings none, and {TOOL} is not installed: pip install 'scanward[gpu]'"
        raise PrecisionMissing(backend=BACKEND, precision=precision, reason=needed)
    elif (reason := _unconvertible.get(network_digest(package, precision))) is not None:
        raise PrecisionMissing(backend=BACKEND, precision=precision, reason=reason)


def network_for(package: ModelPackage, precision: str) -> bytes:
    """The ONNX file that computes in a precision; strongly typed, so it is the file that decides.

    Where the package brings no such variant, it is made of the FP32 network, in INT8 by the package's calibration; the
    admission gate judges the one as it does the other.

    Raises:
        PrecisionMissing: See `require`; or the FP32 network cannot be converted, which `require` knows from then on.
    """
    require(package, precision)
    if not _made_here(package, precision):
        return package.network(precision)
    network = package.network()
    try:
        largest = package.largest() if precision == "int8" else {}
    except (PackageError, OSError) as error:
        raise PrecisionMissing(backend=BACKEND, precision=precision, reason=str(error)) from error
    try:
        return int8.in_eight_bits(network, largest) if precision == "int8" else halved(network)
    except Exception as error:  # the converter and the checker raise what they like
        reason = f"{package.name} cannot be converted ({type(error).__name__}: {error})"
        _unconvertible[network_digest(package, precision)] = reason
        raise PrecisionMissing(backend=BACKEND, precision=precision, reason=reason) from error


def network_digest(package: ModelPackage, precision: str) -> str:
    """What `network_for` depends on: the file's sha256, and what converts it."""
    if not _made_here(package, precision):
        return package.network_digest(precision)
    if precision == "fp16":
        return f"{package.digest} in FP16 by {converter()}"
    calibration = package.manifest.calibration
    return f"{package.digest} in INT8 by {int8.converter()}, calibration {calibration and calibration.sha256}"


def _made_here(package: ModelPackage, precision: str) -> bool:
    brought = package.variant(precision)
    if precision == "fp16":
        return brought is None
    return precision == "int8" and package.manifest.calibration is not None and not (brought and brought.suits(BACKEND))


_unconvertible: dict[str, str] = {}
"""By what `network_digest` says: why it cannot be converted."""


def build(
    package: ModelPackage,
    precision: str,
    shapes: tuple[Profile, ...],
    timing: bytes = b"",
    progress: BuildProgress | None = None,
) -> Built:
    """Builds a plan for the GPU of the current CUDA context. Minutes, seconds with a warm timing cache.

    Args:
        package: Whose network.
        precision: fp32, fp16 or int8; see `require`.
        shapes: From `profiles`.
        timing: Kernel timings of earlier builds on this kind of GPU.
        progress: Called with phase and share done.

    Raises:
        BuildFailed: TensorRT does not take the network; carries its own words.
        PrecisionMissing: There is no network in that precision.
    """
    trt = import_tensorrt()
    network_bytes = network_for(package, precision)
    tensorrt_log = logger()
    with tensorrt_log.listening() as said:
        builder = trt.Builder(tensorrt_log.channel)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, tensorrt_log.channel)
        if not parser.parse(network_bytes):
            problems = [f"{error.node_operator()} {error.node_name()}: {error.desc()}" for error in _errors(parser)]
            raise BuildFailed(backend=BACKEND, package=package.name, reason="; ".join(problems) or "it does not parse")
        config = builder.create_builder_config()
        _add_profile(package, builder, config, shapes)
        timings = _attach_timings(config, timing)
        monitor = _monitor(progress) if progress is not None else None
        if monitor is not None:
            config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        if monitor is not None and monitor.interrupted is not None:
            raise monitor.interrupted
        if plan is None:
            raise BuildFailed(
                backend=BACKEND, package=package.name, reason="; ".join(said) or "TensorRT gave no reason"
            )
        if progress is not None:
            progress("built", 1.0)
        return Built(bytes(plan), bytes(timings.serialize()))


def _errors(parser: Any) -> list[Any]:
    return [parser.get_error(number) for number in range(parser.num_errors)]


def _add_profile(package: ModelPackage, builder: Any, config: Any, shapes: tuple[Profile, ...]) -> None:
    profile = builder.create_optimization_profile()
    for shape in shapes:
        profile.set_shape(shape.name, shape.least, shape.best, shape.largest)
    if config.add_optimization_profile(profile) < 0:
        raise BuildFailed(backend=BACKEND, package=package.name, reason=f"TensorRT refuses the profile {shapes}")


def _attach_timings(config: Any, timing: bytes) -> Any:
    """Earlier timings where they suit; those of another GPU or version are not used."""
    timings = config.create_timing_cache(timing)
    if timings is None or not config.set_timing_cache(timings, False):
        log.warning("timing_cache_unusable", consequence="kernels are timed again")
        timings = config.create_timing_cache(b"")
        config.set_timing_cache(timings, False)
    return timings


class TensorRtLog:
    """TensorRT's log. It wants one logger for the whole process, which must outlive all that it makes."""

    def __init__(self, channel: Any, errors: deque[str]) -> None:
        self.channel = channel
        self._errors = errors
        self._turn = threading.RLock()

    @contextmanager
    def listening(self) -> Iterator[deque[str]]:
        """Collects the errors that TensorRT reports meanwhile; one listener at a time, so that each gets its own."""
        with self._turn:
            self._errors.clear()
            yield self._errors

    @property
    def last(self) -> str:
        """The latest errors, of whichever of TensorRT's objects."""
        return "; ".join(self._errors) or "TensorRT gave no reason"


@cache
def logger() -> TensorRtLog:
    """The process's one TensorRT logger: into structlog, errors also kept for exceptions."""
    trt: Any = import_tensorrt()
    errors: deque[str] = deque(maxlen=5)
    levels = {
        trt.ILogger.Severity.INTERNAL_ERROR: "error",
        trt.ILogger.Severity.ERROR: "error",
        trt.ILogger.Severity.WARNING: "warning",
        trt.ILogger.Severity.INFO: "debug",
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity)
            if level == "error":
                errors.append(message)
            if level is not None:
                getattr(log, level)("tensorrt", message=message)

    return TensorRtLog(Logger(), errors)


def _monitor(progress: BuildProgress) -> Any:
    """TensorRT's progress monitor: phases lie within phases, each with a number of steps.

    `interrupted` holds what `progress` raised, Ctrl-C for instance: it must not pass through TensorRT's own code, which
    is told to stop instead.
    """
    trt: Any = import_tensorrt()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases: dict[str, list[int]] = {}  # name -> steps done, steps in all; outermost first
            self._told = 0.0
            self.interrupted: BaseException | None = None
            self._guard = threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._guard:
                self._phases[phase_name] = [0, max(num_steps, 1)]
            self._tell(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._guard:
                if phase_name in self._phases:
                    self._phases[phase_name][0] = step + 1
            self._tell(phase_name)
            return self.interrupted is None

        def phase_finish(self, phase_name: str) -> None:
            with self._guard:
                self._phases.pop(phase_name, None)

        def _tell(self, phase_name: str) -> None:
            with self._guard:
                share, width = 0.0, 1.0
                for done, steps in self._phases.values():
                    share += width * min(done / steps, 1)
                    width /= steps
                self._told = max(self._told, min(share, 1.0))  # phases of one level overlap; a bar must not go back
            try:
                progress(phase_name, self._told)
            except BaseException as error:
                self.interrupted = error

    return Monitor()
