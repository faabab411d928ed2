"""The plan cache: compiled networks on disk, each good for exactly one network, library, device and precision.

TensorRT's plans and OpenVINO's blobs are kept alike. OpenVINO has a cache of its own, but that one neither notices a
damaged blob (weights with flipped bits were loaded and served in silence) nor writes atomically.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from engines.errors import PlanUnusable
from engines.private_files import private_folder, write_atomically

log = structlog.get_logger(__name__)

MAGIC = b"SCANWARD PLAN 1\n"
DAY = 24 * 3600
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class PlanKey:
    """All that a plan depends on.

    Attributes:
        package: Name of the model package, for people who look into the folder.
        network: sha256 of the ONNX file that was built.
        library: Name and version of what built it.
        device: Name and capability of what it was built for.
        options: Shapes, streams and whatever else changes the result; plain JSON values.
    """

    package: str
    network: str
    library: str
    device: str
    precision: str
    options: tuple[Any, ...]

    @property
    def file(self) -> str:
        """File name of the plan."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.package}-{self.library.split()[0]}-{self.precision}-{digest[:16]}.plan"

    @property
    def timing_file(self) -> str:
        """File name of the kernel timings, which all networks on one kind of device share."""
        return f"{hashlib.sha256(f'{self.library} {self.device}'.encode()).hexdigest()[:16]}.timing"


@dataclass(frozen=True)
class Built:
    """What a builder hands over: the plan, and the kernel timings for the next build (b"" where there are none)."""

    plan: bytes
    timing: bytes = b""


class PlanStore:
    """Plans below `cache_dir`/plans (0700). Safe between threads, processes and crashes.

    Attributes:
        max_bytes: After a build, the plans that were not used for longest go until the rest is smaller than this.
        max_age: Plans that were not used for this long go, seconds.
    """

    def __init__(self, cache_dir: Path, *, max_bytes: int = 8 << 30, max_age: float = 90 * DAY) -> None:
        self.folder = private_folder(cache_dir, "plans")
        self.max_bytes = max_bytes
        self.max_age = max_age

    def obtain(self, key: PlanKey, build: Callable[[bytes], Built]) -> bytes:
        """The stored plan, or a new one; one process builds while the others wait for its plan.

        Args:
            key: Which plan.
            build: Called with earlier kernel timings (or b"") when there is no usable plan.
        """
        plan = self._usable(key)
        if plan is not None:
            return plan
        with self.locked():
            plan = self._usable(key)  # another process may have built it while we waited
            return plan if plan is not None else self._build(key, build)

    def load(self, key: PlanKey, build: Callable[[bytes], Built], read: Callable[[bytes], Loaded]) -> Loaded:
        """What `read` makes of the plan; one that it refuses with PlanUnusable is built again, once."""
        try:
            return read(self.obtain(key, build))
        except PlanUnusable as error:
            self.discard(key, error.problem)
            return read(self.obtain(key, build))

    def has(self, key: PlanKey) -> bool:
        """Whether a usable plan is stored."""
        return self._usable(key) is not None

    def read(self, key: PlanKey) -> bytes:
        """The stored plan; counts as use.

        Raises:
            FileNotFoundError: There is none.
            PlanUnusable: The file is damaged, or was made for something else.
        """
        path = self.folder / key.file
        content = path.read_bytes()
        header, payload = _split(path, content)
        stated = {name: _as_stored(value) for name, value in asdict(key).items()}
        foreign = [name for name, value in stated.items() if header.get("key", {}).get(name) != value]
        if foreign:
            raise PlanUnusable(path=path, problem=f"foreign: made for another {', '.join(foreign)}")
        if hashlib.sha256(payload).hexdigest() != header.get("sha256"):
            raise PlanUnusable(path=path, problem="damaged: its content is not what was written")
        os.utime(path)
        return payload

    def discard(self, key: PlanKey, problem: str) -> None:
        """Removes a plan that the library itself refused."""
        log.warning("plan_discarded", plan=key.file, problem=problem)
        (self.folder / key.file).unlink(missing_ok=True)

    def purge(self, *, keep: PlanKey | None = None) -> list[str]:
        """Removes plans by age and total size, and what a crash left half written; returns the names."""
        now, total, gone = time.time(), 0, []
        for path in self.folder.glob(".*.part"):
            if now - path.stat().st_mtime > DAY:
                path.unlink(missing_ok=True)
        for path in sorted(self.folder.glob("*.plan"), key=_last_use, reverse=True):
            total += path.stat().st_size
            expired = now - _last_use(path) > self.max_age
            if (expired or total > self.max_bytes) and not (keep and path.name == keep.file):
                total -= path.stat().st_size
                path.unlink(missing_ok=True)
                gone.append(path.name)
        if gone:
            log.info("plans_purged", plans=gone)
        return gone

    def _usable(self, key: PlanKey) -> bytes | None:
        try:
            return self.read(key)
        except FileNotFoundError:
            return None
        except PlanUnusable as error:
            log.warning("plan_unusable", plan=key.file, problem=error.problem, consequence="it is built again")
            return None

    def _build(self, key: PlanKey, build: Callable[[bytes], Built]) -> bytes:
        timing = self.folder / key.timing_file
        started = time.monotonic()
        log.info("plan_building", plan=key.file, device=key.device, precision=key.precision)
        built = build(timing.read_bytes() if timing.exists() else b"")
        log.info("plan_built", plan=key.file, seconds=round(time.monotonic() - started, 1), bytes=len(built.plan))
        header = {"key": asdict(key), "sha256": hashlib.sha256(built.plan).hexdigest()}
        try:
            write_atomically(self.folder / key.file, MAGIC + json.dumps(header).encode() + b"\n" + built.plan)
            if built.timing:
                write_atomically(timing, built.timing)
            self.purge(keep=key)
        except OSError as error:  # a full disk costs time at the next start, not service now
            log.warning("plan_not_kept", plan=key.file, reason=str(error))
        return built.plan

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One builder at a time; also keeps builds from disturbing each other's measurements.

        The kernel lets go of a flock when its process ends in whatever way, so a crash leaves no lock behind.
        """
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("plan_lock_busy", folder=str(self.folder), consequence="waiting for the other builder")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _split(path: Path, content: bytes) -> tuple[dict[str, Any], bytes]:
    if not content.startswith(MAGIC):
        raise PlanUnusable(path=path, problem="outdated or damaged: it does not begin as this version's plans do")
    line, newline, payload = content[len(MAGIC) :].partition(b"\n")
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not newline or not isinstance(header, dict):
        raise PlanUnusable(path=path, problem="damaged: its header cannot be read")
    return header, payload


def _as_stored(value: object) -> object:
    """As JSON gives it back: lists for tuples."""
    return json.loads(json.dumps(value))


def _last_use(path: Path) -> float:
    return path.stat().st_mtime
