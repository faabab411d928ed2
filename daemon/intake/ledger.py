"""The files of a watched folder that were imported and stay there, so that a restart does not import them again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path

from daemon.intake.settling import Signature
from dicomio.files.spool.durable import sync_folder
from dicomio.files.spool.temporary import FILE_MODE

Key = tuple[str, int, int]


class Ledger:
    """The files of one folder that were imported already, by relative path, size and time of last change.

    One line of JSON per file, appended as they are imported. The lines need not be durable: a file whose line is lost
    in a power failure is imported again, and found to be a copy. `prune` rewrites the file as a whole, atomically.

    Args:
        path: The file to keep them in.
        folder: The watched folder; the paths are relative to it.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self._prefix = f"{folder}{os.sep}"
        self._keys = _read(path)

    def __contains__(self, file: tuple[Path, Signature]) -> bool:
        return bool(self._keys) and self._key(*file) in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, path: Path, signature: Signature) -> None:
        """Note a file."""
        key = self._key(path, signature)
        if key in self._keys:
            return
        self._keys.add(key)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            os.write(fd, _line(key))
        finally:
            os.close(fd)

    def prune(self, present: Collection[tuple[Path, Signature]]) -> None:
        """Drop the files that are not there any more.

        If none of them is there, none is dropped: more likely a network share is not mounted.
        """
        kept = {key for file in present if (key := self._key(*file)) in self._keys}
        if kept and kept != self._keys:
            self._keys = kept
            self._write()

    def _key(self, path: Path, signature: Signature) -> Key:
        return str(path).removeprefix(self._prefix), signature.size, signature.mtime_ns

    def _write(self) -> None:
        fresh = self.path.with_name(f"{self.path.name}.new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(fd, "wb") as stream:
            stream.writelines(_line(key) for key in sorted(self._keys))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, self.path)
        sync_folder(self.path.parent)


def ledger_of(folder: Path, spool_root: Path) -> Ledger:
    """The ledger of a watched folder; its file lies in the spool's folder, one for each watched folder."""
    digest = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
    return Ledger(spool_root / f"watched-{digest}.jsonl", folder)


def _line(key: Key) -> bytes:
    return json.dumps(key).encode() + b"\n"  # surrogates of names that are no UTF-8 become \udc.. and come back


def _read(path: Path) -> set[Key]:
    keys: set[Key] = set()
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return keys
    for line in lines:
        try:
            name, size, mtime_ns = json.loads(line)
            keys.add((str(name), int(size), int(mtime_ns)))
        except (TypeError, ValueError):  # a line that a crash cut off
            continue
    return keys
