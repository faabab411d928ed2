"""The admission gate: before an engine serves, it must answer the reference inputs as ONNX Runtime FP32 does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import structlog

from engines.backends.onnxruntime.engine import OnnxRuntimeEngine
from engines.contract import Arrays, Engine, EngineSettings, GateFigures
from engines.errors import GateRefused, InferenceFailed, NotFinite
from engines.packages.activation import masks, probabilities
from engines.packages.manifest import Manifest, Tolerance
from engines.packages.package import ModelPackage
from engines.private_files import private_folder, write_atomically

log = structlog.get_logger(__name__)

FORMAT = 2  # of the stored results: raise it when the gate's rules change, or how an engine computes


@dataclass(frozen=True)
class Agreement:
    """How two engines' answers to the same feeds compare.

    Attributes:
        dice: Dice of each class's mask by "output/class", pooled over the batch; 1 where both are empty.
            Empty for classifiers.
        max_difference: Largest difference of a probability (of a raw value, where no activation is stated).
        mean_difference: Mean difference.
        outliers: Share of probabilities that differ by more than the package's tolerance.
        finite: No NaN and no infinity in either.
    """

    dice: Mapping[str, float]
    max_difference: float
    mean_difference: float
    outliers: float
    finite: bool = True

    def problems(self, tolerance: Tolerance) -> tuple[str, ...]:
        """What is outside the tolerance, in words; nothing when they agree."""
        if not self.finite:
            return ("the answer holds NaN or infinity",)
        low = [
            f"Dice of {name} is {value:.4f}, below {tolerance.dice}"
            for name, value in self.dice.items()
            if value < tolerance.dice
        ]
        if self.outliers > tolerance.outliers:
            low.append(
                f"{self.outliers:.2%} of the probabilities differ by more than {tolerance.probability}"
                f" (largest {self.max_difference:.4f}), allowed are {tolerance.outliers:.2%}"
            )
        return tuple(low)

    def figures(self) -> GateFigures:
        """The part that goes into a job's record."""
        return GateFigures(self.least_dice, self.max_difference, self.outliers)

    @property
    def least_dice(self) -> float | None:
        """Of the class that agrees least; None for classifiers."""
        return min(self.dice.values(), default=None)


def compare(engine: Engine, reference: Engine, feeds: Mapping[str, np.ndarray]) -> Agreement:
    """Runs two open engines on the same feeds, each in (batch, ...), and reports how their answers differ.

    Raises:
        InferenceFailed: One of them broke; that says nothing about its answers.
    """
    try:
        ours, theirs = engine.infer(feeds), reference.infer(feeds)
    except NotFinite as error:
        log.warning("answer_not_finite", package=engine.package.name, reason=str(error))
        return Agreement({}, float("nan"), float("nan"), 1.0, finite=False)
    return agreement(engine.package.manifest, ours, theirs)


def agreement(manifest: Manifest, ours: Arrays, theirs: Arrays) -> Agreement:
    """Compares two sets of raw outputs (batch, classes, ...); overwrites both with probabilities."""
    ours, theirs = probabilities(manifest, ours), probabilities(manifest, theirs)
    dice: dict[str, float] = {}
    differences = []
    for spec in manifest.outputs:
        a, b = ours[spec.name], theirs[spec.name]
        if manifest.task == "segmentation" and spec.classes:
            pairs = zip(masks(manifest, spec, a).swapaxes(0, 1), masks(manifest, spec, b).swapaxes(0, 1), strict=True)
            dice |= {f"{spec.name}/{name}": _dice(*pair) for name, pair in zip(spec.classes, pairs, strict=True)}
        differences.append(np.abs(a.astype(np.float32) - b).ravel())
    apart = np.concatenate(differences)
    if not apart.size:
        return Agreement(dice, 0.0, 0.0, 0.0)
    return Agreement(
        dice=dice,
        max_difference=float(apart.max()),
        mean_difference=float(apart.mean()),
        outliers=float((apart > manifest.tolerance.probability).mean()),
        finite=bool(np.isfinite(apart).all()),
    )


def admit(engine: Engine) -> GateFigures | None:
    """Lets an open engine serve, or refuses it; an answer from an earlier start is taken from the cache folder.

    Returns:
        The figures, also stored in the engine's description; None for the reference itself.

    Raises:
        GateRefused: It answers differently, or breaks.
    """
    if isinstance(engine, OnnxRuntimeEngine) and engine.precision == "fp32":
        return None
    described = engine.description
    record = _read_record(engine)
    if record is None:
        try:
            record = _examine(engine)
        except InferenceFailed as error:  # not remembered: the next start may find a GPU with more free memory
            raise GateRefused(
                backend=described.backend, precision=described.precision, package=engine.package.name, reason=str(error)
            ) from error
        _write_record(engine, record)
    else:
        record = replace(record, figures=replace(record.figures, cached=True))
    log.info("engine_gate", package=engine.package.name, engine=str(described), problems=record.problems)
    if record.problems:
        reason = "; ".join(record.problems)
        raise GateRefused(
            backend=described.backend, precision=described.precision, package=engine.package.name, reason=reason
        )
    engine.accept(record.figures)
    return record.figures


def reference_feeds(package: ModelPackage) -> Arrays:
    """The package's reference inputs, or made-up ones (smooth noise, always the same) when it brings none."""
    stored = package.reference()
    if stored is not None:
        return stored
    log.warning("package_without_reference_inputs", package=package.name)
    random = np.random.default_rng(0)
    feeds: Arrays = {}
    for spec in package.manifest.inputs:
        shape = (2, *(size if isinstance(size, int) else 64 for size in spec.shape[1:]))
        noise = random.standard_normal(shape, dtype=np.float32)
        for axis in range(2, noise.ndim):
            noise = (noise + np.roll(noise, 1, axis) + np.roll(noise, 2, axis)) / 3**0.5
        feeds[spec.name] = noise.astype(spec.dtype)
    return feeds


@dataclass(frozen=True)
class GateRecord:
    """The gate's answer about one engine, as it is stored."""

    problems: tuple[str, ...]
    figures: GateFigures


def _examine(engine: Engine) -> GateRecord:
    settings = EngineSettings(
        backend="onnxruntime", threads=engine.settings.threads, max_batch=engine.settings.max_batch
    )
    with OnnxRuntimeEngine(engine.package, settings) as reference:
        found = compare(engine, reference, reference_feeds(engine.package))
    return GateRecord(found.problems(engine.package.manifest.tolerance), found.figures())


def _record_file(engine: Engine, cache_dir: Path) -> Path:
    """One file per everything that the answer depends on: another driver, processor or network is another question."""
    described = engine.description
    question = (
        FORMAT,
        engine.package.manifest.model_dump_json(include={"sha256", "variants", "outputs", "thresholds", "tolerance"}),
        _digest_of_reference(engine.package),
        (described.backend, described.version, described.precision, described.device, described.plan),
    )
    name = hashlib.sha256(repr(question).encode()).hexdigest()[:32]
    return private_folder(cache_dir, "gate") / f"{name}.json"


def _digest_of_reference(package: ModelPackage) -> str:
    name = package.manifest.reference_inputs
    return hashlib.sha256((package.folder / name).read_bytes()).hexdigest() if name else ""


def _read_record(engine: Engine) -> GateRecord | None:
    if engine.settings.cache_dir is None:
        return None
    try:
        stored = json.loads(_record_file(engine, engine.settings.cache_dir).read_bytes())
        return GateRecord(tuple(stored["problems"]), GateFigures(**stored["figures"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        log.warning("gate_record_damaged", package=engine.package.name, reason=str(error))
        return None


def _write_record(engine: Engine, record: GateRecord) -> None:
    if engine.settings.cache_dir is not None:
        file = _record_file(engine, engine.settings.cache_dir)
        try:
            write_atomically(file, json.dumps(asdict(record), indent=1).encode())
        except OSError as error:  # a full disk costs time at the next start, not service now
            log.warning("gate_record_not_kept", package=engine.package.name, reason=str(error))


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
