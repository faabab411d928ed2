"""What every test may ask for. A missing external program is skipped with a reason on a user's machine and fails in CI."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("SCANWARD_SHARED", Path(__file__).resolve().parents[2] / "shared"))
IN_CI = os.environ.get("CI") == "true"


def skip_or_fail(reason: str) -> None:
    """Skips on a user's machine; in CI, where .ci/run installs everything, a missing package is an error."""
    if IN_CI:
        pytest.fail(f"CI must not skip: {reason}")
    pytest.skip(reason)


@pytest.fixture
def needs() -> Callable[..., str]:
    """`needs("dcmsend", package="dcmtk")` returns the program's path, or skips (fails in CI) when it is not installed."""

    def find(program: str, *, package: str = "") -> str:
        path = shutil.which(program)
        if path is None:
            skip_or_fail(f"{program} is not installed (Debian package {package or program})")
        return path or ""

    return find


@pytest.fixture
def free_port() -> int:
    """A TCP port that is free on the loopback address at the time of asking."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The team's shared data (real scans); tests that need it are skipped on machines that do not have it."""
    if not (SHARED / "data").is_dir():
        skip_or_fail(f"the shared data is not at {SHARED}")
    return SHARED / "data"
