"""Watched folders: what is put there goes into the spool, and leaves the folder when it is durable there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from daemon.loop import Loop
from dicomio.errors import UnreadableFile
from dicomio.headers import read_header
from dicomio.spool import Spool

log = structlog.get_logger(__name__)

_LEFT_ALONE = (".part", ".tmp", ".filepart", "~")


@dataclass(frozen=True)
class WatchedFolder:
    """A folder to take files from.

    Attributes:
        path: The folder; it may come and go, as network shares do.
        settle: Seconds for which size and time of a file must not have changed before it is taken.
        keep: Files stay in the folder, and are remembered so that they are not taken again.
    """

    path: Path
    settle: float = 5.0
    keep: bool = False


@dataclass(frozen=True)
class FolderEvent:
    """A file was dealt with.

    Attributes:
        folder: The watched folder.
        name: Base name of the file.
        images: How many DICOM files went into the spool.
    """

    folder: Path
    name: str
    images: int


class FolderWatcher:
    """Takes files from folders into the spool. A context manager: its threads run from enter to exit.

    Args:
        folders: The folders.
        spool: Where the files go.
        on_event: Called, from a thread of the watcher, for each file that was dealt with.
    """

    def __init__(
        self,
        folders: Sequence[WatchedFolder],
        spool: Spool,
        on_event: Callable[[FolderEvent], None] = lambda event: None,
    ) -> None:
        self._watches = [_Watch(folder, spool, on_event) for folder in folders]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for watch in self._watches:
                pause = min(1.0, max(0.05, watch.folder.settle / 4))
                stack.enter_context(Loop(f"watch-{watch.folder.path.name}", watch.step, interval=pause))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class _Watch:
    def __init__(self, folder: WatchedFolder, spool: Spool, on_event: Callable[[FolderEvent], None]) -> None:
        self.folder = folder
        self._spool = spool
        self._on_event = on_event
        self._seen: dict[Path, tuple[tuple[int, int], float]] = {}

    def step(self) -> bool:
        now = time.monotonic()
        for path, signature in _files(self.folder.path):
            known, since = self._seen.get(path, (None, now))
            if known != signature:
                self._seen[path] = (signature, now)
            elif now - since >= self.folder.settle:
                del self._seen[path]
                self._take(path)
        return False

    def _take(self, path: Path) -> None:
        images = 0
        try:
            read_header(path)
            self._spool.store_file(path)
            images = 1
        except UnreadableFile as error:
            with self._spool.open_part(path.stem) as part:
                part.write(path.read_bytes())
                part.quarantine(str(error), path.name)
        if not self.folder.keep:
            path.unlink()
        self._on_event(FolderEvent(self.folder.path, path.name, images))


def _files(folder: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(base, name)
            if not name.startswith(".") and not name.endswith(_LEFT_ALONE) and not path.is_symlink():
                status = path.stat()
                yield path, (status.st_size, status.st_mtime_ns)
