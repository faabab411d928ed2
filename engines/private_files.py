"""Files that may be deleted (compiled networks, plans, gate results), readable by the daemon's user only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def private_folder(root: Path, name: str) -> Path:
    """The folder `name` below the cache folder `root`; both are made, or narrowed to, 0700."""
    folder = root / name
    for path in (root, folder):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
    return folder


def write_atomically(path: Path, content: bytes) -> None:
    """Puts a file (0600) in place whole or not at all, on disk before it has its name."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")  # made 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
