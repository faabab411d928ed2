"""Empty files prepared ahead, so that an image that comes finds its file open and its directory entry on the disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dicomio.files.spool.durable import sync_folder
from dicomio.files.spool.writer import PreparedFile


class PreparedFiles:
    """Prepared files of one folder; safe to use from several threads. It is refilled in the background.

    Args:
        folder: Where they lie.
        make: Makes one, its directory entry not yet durable.
        size: How many to prepare at a time.
    """

    def __init__(self, folder: Path, make: Callable[[], PreparedFile], size: int) -> None:
        self._folder = folder
        self._make = make
        self._size = size
        self._blanks: list[PreparedFile] = []
        self._lock = threading.Lock()
        self._refilling: threading.Thread | None = None
        self._closed = False

    def take(self) -> PreparedFile:
        """A file; raises OSError where none can be made."""
        with self._lock:
            blank = self._blanks.pop() if self._blanks else None
            if len(self._blanks) < self._size // 2 and self._refilling is None and not self._closed:
                self._begin_refill()
        return self._make() if blank is None else blank

    def close(self) -> None:
        """Remove the files that were not needed."""
        with self._lock:
            self._closed, refilling = True, self._refilling
        if refilling is not None:
            refilling.join()
        while self._blanks:
            _remove(self._blanks.pop())

    def _begin_refill(self) -> None:
        thread = threading.Thread(target=self._refill, name="stock", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no threads left: files are made one by one meanwhile
            return
        self._refilling = thread

    def _refill(self) -> None:
        """Add files; where there is no room for them, whoever needs one hears of it."""
        blanks: list[PreparedFile] = []
        try:
            for _ in range(self._size):
                blanks.append(self._make())
            sync_folder(self._folder)
        except OSError:
            for blank in blanks:
                _remove(blank)
            blanks = []
        with self._lock:
            self._blanks += [replace(blank, listed=True) for blank in blanks]
            self._refilling = None


def _remove(blank: PreparedFile) -> None:
    try:
        blank.path.unlink(missing_ok=True)
    finally:
        os.close(blank.fd)
