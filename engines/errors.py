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

What an error's message is made of, see scanward_errors.py.
"""

# ruff: noqa: N818 - the name says what happened and whose fault it is; that it is an error, the tree says

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from scanward_errors import ScanwardError


class EngineError(ScanwardError):
    """An engine, or what it needs, failed."""

    message: ClassVar[str] = "An engine could not do what was asked."


class PackageError(EngineError):
    """A model package is wrong; whoever made or copied it must act."""

    message: ClassVar[str] = "The model package cannot be used."


@dataclass(eq=False, kw_only=True)
class PackageMissing(PackageError):
    """There is no model package in a folder."""

    message: ClassVar[str] = "{path}: no model package here ({problem})."

    path: Path
    problem: str


@dataclass(eq=False, kw_only=True)
class PackageInvalid(PackageError):
    """A model package breaks its format; `key` says where."""

    message: ClassVar[str] = "{file}: {key}: {problem}."

    file: Path
    key: str
    problem: str


@dataclass(eq=False, kw_only=True)
class DigestMismatch(PackageError):
    """A file of a model package is not the one that the package was made with."""

    message: ClassVar[str] = (
        "{file}: its sha256 is {found}, but model.yaml says {stated} at {key}: a damaged copy, or another network."
    )

    file: Path
    key: str
    stated: str
    found: str


class BadFeeds(EngineError):
    """A pipeline fed a network with arrays that it does not take: a bug in the pipeline."""

    message: ClassVar[str] = "The arrays do not suit the network."


@dataclass(eq=False, kw_only=True)
class WrongNames(BadFeeds):
    """There are other inputs than those of the network."""

    message: ClassVar[str] = "{package}: expected inputs {expected}, received {received}."

    package: str
    expected: Sequence[str]
    received: Sequence[str]


@dataclass(eq=False, kw_only=True)
class WrongDtype(BadFeeds):
    """An input is of the wrong type."""

    message: ClassVar[str] = "{package}: input {name}: expected dtype {expected}, received {received}."

    package: str
    name: str
    expected: str
    received: str


@dataclass(eq=False, kw_only=True)
class WrongShape(BadFeeds):
    """An input has the wrong shape."""

    message: ClassVar[str] = "{package}: input {name}: expected shape {expected}, received {received}."

    package: str
    name: str
    expected: str
    received: str


@dataclass(eq=False, kw_only=True)
class WrongValues(BadFeeds):
    """An input holds NaN or infinity."""

    message: ClassVar[str] = "{package}: input {name}: expected finite numbers, received NaN or infinity."

    package: str
    name: str


@dataclass(eq=False, kw_only=True)
class EngineNotOpen(EngineError):
    """The engine was used outside of `with engine:`."""

    message: ClassVar[str] = "{package}: the {backend} engine is not open; infer inside `with engine:`."

    package: str
    backend: str


class EngineRefused(EngineError):
    """An engine cannot serve a package on this machine; the next one may."""

    message: ClassVar[str] = "This engine cannot run this package on this machine."


@dataclass(eq=False, kw_only=True)
class BackendMissing(EngineRefused):
    """The library of a backend is not installed, or does not load."""

    message: ClassVar[str] = "{backend} is not installed: {reason}."

    backend: str
    reason: str


@dataclass(eq=False, kw_only=True)
class DeviceMissing(EngineRefused):
    """There is no such device, or no driver for it."""

    message: ClassVar[str] = "{backend} finds no device: {reason}."

    backend: str
    reason: str


@dataclass(eq=False, kw_only=True)
class DriverTooOld(EngineRefused):
    """The driver of the GPU is older than the libraries need."""

    message: ClassVar[str] = "{backend}: the GPU driver is too old: {reason}."

    backend: str
    reason: str


@dataclass(eq=False, kw_only=True)
class DeviceFull(EngineRefused):
    """There is too little free memory even for a batch of one."""

    message: ClassVar[str] = "{backend}: {package} does not fit into the free memory of {device}: {reason}."

    backend: str
    package: str
    device: str
    reason: str


@dataclass(eq=False, kw_only=True)
class PrecisionMissing(EngineRefused):
    """The device or the package has no such precision."""

    message: ClassVar[str] = "{backend}: {precision} is not available: {reason}."

    backend: str
    precision: str
    reason: str


@dataclass(eq=False, kw_only=True)
class BuildFailed(EngineRefused):
    """The network does not compile."""

    message: ClassVar[str] = "{backend}: {package} does not compile: {reason}."

    backend: str
    package: str
    reason: str


@dataclass(eq=False, kw_only=True)
class PlanMissing(EngineRefused):
    """The plan would have to be built first, and now is not the time."""

    message: ClassVar[str] = "{backend} {precision}: no stored plan of {package}; `scanward models build` builds it."

    backend: str
    precision: str
    package: str


@dataclass(eq=False, kw_only=True)
class PlanUnusable(EngineRefused):
    """A stored plan is damaged, foreign or outdated. It is rebuilt."""

    message: ClassVar[str] = "{path}: the stored plan is {problem}."

    path: Path
    problem: str


@dataclass(eq=False, kw_only=True)
class GateRefused(EngineRefused):
    """An engine's answers differ from those of the reference."""

    message: ClassVar[str] = "{backend} {precision}: {package} gives different results from the reference: {reason}."

    backend: str
    precision: str
    package: str
    reason: str


@dataclass(eq=False, kw_only=True)
class NoEngine(EngineError):
    """Every engine was refused."""

    message: ClassVar[str] = "{package}: no engine can run it: {reasons}."

    package: str
    reasons: str


@dataclass(eq=False, kw_only=True)
class InferenceFailed(EngineError):
    """The engine broke while it ran."""

    message: ClassVar[str] = "{package}: {backend} failed during inference: {reason}."

    package: str
    backend: str
    reason: str


@dataclass(eq=False, kw_only=True)
class OutOfDeviceMemory(InferenceFailed):
    """The device ran out of memory. A smaller batch may pass."""

    message: ClassVar[str] = "{package}: {backend}: the device has too little free memory: {reason}."


@dataclass(eq=False, kw_only=True)
class DeviceLost(InferenceFailed):
    """The device is gone; the process must be replaced."""

    message: ClassVar[str] = "{package}: {backend}: the device is gone: {reason}."


@dataclass(eq=False, kw_only=True)
class NotFinite(InferenceFailed):
    """The network answered NaN or infinity."""

    message: ClassVar[str] = "{package}: {backend}: the network returned NaN or infinity: {reason}."
