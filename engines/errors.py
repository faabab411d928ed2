"""What can go wrong around an engine, by whose fault it is.

    EngineError
    ├── PackageError            the model package is wrong: whoever made or copied it must act
    │   ├── PackageMissing
    │   ├── PackageInvalid
    │   └── DigestMismatch
    ├── BadFeeds                the caller sent the wrong arrays: a bug in a pipeline
    │   ├── WrongNames
    │   ├── WrongDtype
    │   ├── WrongShape
    │   └── WrongValues
    ├── EngineNotOpen           the caller forgot `with engine:`, or went on after it
    ├── EngineRefused           this engine cannot serve this package here: the next one may
    │   ├── BackendMissing          library not installed
    │   ├── DeviceMissing           no such device, or no driver for it
    │   ├── DriverTooOld
    │   ├── PrecisionMissing        the processor or the package has no such precision
    │   ├── DeviceFull              too little free memory even for a batch of one
    │   ├── BuildFailed             the network does not compile
    │   ├── PlanMissing             it would have to be built first, and now is not the time
    │   ├── PlanUnusable            a stored plan is damaged, foreign or outdated; it is rebuilt
    │   └── GateRefused             it answers differently from the reference
    ├── NoEngine                every engine was refused
    └── InferenceFailed         it broke while it ran
        ├── OutOfDeviceMemory       a smaller batch may pass
        ├── DeviceLost              the process must be replaced
        └── NotFinite               the network answered NaN or infinity

The docstring of each class is its message; the braces are filled from the exception's own data.
"""

# ruff: noqa: N818 - the name says what happened and whose fault it is; that it is an error, the tree says

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def _revive(kind: type[EngineError], data: dict[str, Any]) -> EngineError:
    error = kind.__new__(kind)
    error.__dict__.update(data)
    return error


class EngineError(Exception):
    """An engine could not do what was asked."""

    def __str__(self) -> str:
        doc = inspect.getdoc(type(self)) or ""
        return doc.split("\n\n")[0].replace("\n", " ").format(**self.__dict__)

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel from worker processes; the fields travel with them."""
        return _revive, (type(self), dict(self.__dict__))


class PackageError(EngineError):
    """The model package cannot be used."""


@dataclass(eq=False)
class PackageMissing(PackageError):
    """{path}: no model package here ({problem})."""

    path: Path
    problem: str


@dataclass(eq=False)
class PackageInvalid(PackageError):
    """{file}: {key}: {problem}."""

    file: Path
    key: str
    problem: str


@dataclass(eq=False)
class DigestMismatch(PackageError):
    """{file}: its sha256 is {found}, but model.yaml says {stated} at {key}: a damaged copy, or another network."""

    file: Path
    key: str
    stated: str
    found: str


class BadFeeds(EngineError):
    """The arrays do not suit the network."""


@dataclass(eq=False)
class WrongNames(BadFeeds):
    """{package}: expected inputs {expected}, received {received}."""

    package: str
    expected: Sequence[str]
    received: Sequence[str]


@dataclass(eq=False)
class WrongDtype(BadFeeds):
    """{package}: input {name}: expected dtype {expected}, received {received}."""

    package: str
    name: str
    expected: str
    received: str


@dataclass(eq=False)
class WrongShape(BadFeeds):
    """{package}: input {name}: expected shape {expected}, received {received}."""

    package: str
    name: str
    expected: str
    received: str


@dataclass(eq=False)
class WrongValues(BadFeeds):
    """{package}: input {name}: expected finite numbers, received NaN or infinity."""

    package: str
    name: str


@dataclass(eq=False)
class EngineNotOpen(EngineError):
    """{package}: the {backend} engine is not open; infer inside `with engine:`."""

    package: str
    backend: str


class EngineRefused(EngineError):
    """This engine cannot serve this package here."""


@dataclass(eq=False)
class BackendMissing(EngineRefused):
    """{backend} is not installed: {reason}."""

    backend: str
    reason: str


@dataclass(eq=False)
class DeviceMissing(EngineRefused):
    """{backend} finds no device: {reason}."""

    backend: str
    reason: str


@dataclass(eq=False)
class DriverTooOld(EngineRefused):
    """{backend}: the GPU driver is too old: {reason}."""

    backend: str
    reason: str


@dataclass(eq=False)
class DeviceFull(EngineRefused):
    """{backend}: {package} does not fit into the free memory of {device}: {reason}."""

    backend: str
    package: str
    device: str
    reason: str


@dataclass(eq=False)
class PrecisionMissing(EngineRefused):
    """{backend}: {precision} is not to be had: {reason}."""

    backend: str
    precision: str
    reason: str


@dataclass(eq=False)
class BuildFailed(EngineRefused):
    """{backend}: {package} does not compile: {reason}."""

    backend: str
    package: str
    reason: str


@dataclass(eq=False)
class PlanMissing(EngineRefused):
    """{backend} {precision}: no stored plan of {package}; `scanward models build` makes it."""

    backend: str
    precision: str
    package: str


@dataclass(eq=False)
class PlanUnusable(EngineRefused):
    """{path}: the stored plan is {problem}."""

    path: Path
    problem: str


@dataclass(eq=False)
class GateRefused(EngineRefused):
    """{backend} {precision}: {package} does not answer as the reference does: {reason}."""

    backend: str
    precision: str
    package: str
    reason: str


@dataclass(eq=False)
class NoEngine(EngineError):
    """{package}: no engine can serve it: {reasons}."""

    package: str
    reasons: str


@dataclass(eq=False)
class InferenceFailed(EngineError):
    """{package}: {backend} broke while it ran: {reason}."""

    package: str
    backend: str
    reason: str


@dataclass(eq=False)
class OutOfDeviceMemory(InferenceFailed):
    """{package}: {backend}: the device has too little free memory: {reason}."""


@dataclass(eq=False)
class DeviceLost(InferenceFailed):
    """{package}: {backend}: the device is gone: {reason}."""


@dataclass(eq=False)
class NotFinite(InferenceFailed):
    """{package}: {backend}: the network answered NaN or infinity: {reason}."""
