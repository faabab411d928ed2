"""What tests of the watched folder share, to look with; their fixtures are in conftest.py."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicomio.files.spool.spool import Spool

SETTLE = 0.2
NOBODY = 65534


def contents(paths: list[Path]) -> list[bytes]:
    return sorted(path.read_bytes() for path in paths)


def quarantined(spool: Spool) -> dict[str, str]:
    """Base name that each file in quarantine had -> reason; each of them lies beside its reason."""
    notes = sorted(spool.quarantine_folder.glob("*.reason.json"))
    assert all(path.with_name(path.name.removesuffix(".reason.json")).exists() for path in notes)
    return {note["origin"]: note["reason"] for note in (json.loads(path.read_text()) for path in notes)}


def kept_in_quarantine(spool: Spool) -> list[Path]:
    return [path for path in spool.quarantine_folder.iterdir() if not path.name.endswith(".reason.json")]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's rights to files, in this thread only."""
    libc = ctypes.CDLL(None)
    was = libc.setfsuid(NOBODY) if os.geteuid() == 0 else -1
    try:
        yield
    finally:
        if was >= 0:
            libc.setfsuid(was)
