"""What every run writes down of its surroundings: the data, the libraries, the run that it started from."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "lightning", "monai", "numpy", "scanward")


def surroundings(data: Path, trained_on: int) -> dict[str, Any]:
    """What a run's record says of these.

    Args:
        data: The data set.
        trained_on: Items of it to train on: pictures, scans or patients.
    """
    return {
        "trained_on": trained_on,
        "data_digest": data_digest(data),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def data_digest(data: Path) -> str:
    """sha256 over the relative paths and sizes of all files: cheap, and it tells one data set from another."""
    digest = hashlib.sha256()
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(data)} {path.stat().st_size}\n".encode())
    return digest.hexdigest()
