"""A watched folder with what is to be taken from it; the command line in this process."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import daemon.intake.folder
from daemon.cli import app
from daemon.intake.folder import FolderImporter
from daemon.intake.watcher import FolderWatcher, WatchedFolder
from dicomio.files.spool.spool import Spool
from pipelines.phantoms.dicom import write_phantom
from tests.daemon.support.watched_folder import SETTLE, as_nobody


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("phantom") / "dicom"
    write_phantom("abdomen-ct", out, slices=4, matrix=64)
    return sorted(out.rglob("*.dcm"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", reserve=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def as_many_scans_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon.intake.folder, "_SCAN_SHARE", 0)


@pytest.fixture
def watching(folder: Path, spool: Spool, as_many_scans_as_asked_for: None) -> Callable[..., FolderWatcher]:
    """`with watching():` takes files from `folder` into `spool`."""

    def make(*, keep: bool = False, rescan: float = 0.3, **options: object) -> FolderWatcher:
        return FolderWatcher([WatchedFolder(folder, SETTLE, keep)], spool, rescan=rescan, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def inbox(folder: Path, spool: Spool, as_many_scans_as_asked_for: None) -> Callable[..., FolderImporter]:
    """An inbox without a thread, whose files settle at once; each `step` looks at everything."""

    def make(settle: float = 0.0, keep: bool = False) -> FolderImporter:
        watched = WatchedFolder(folder, settle, keep)
        return FolderImporter(watched, spool, lambda event: None, rescan=0.0, stopping=threading.Event())

    return make


@pytest.fixture
def unprivileged() -> Iterator[tuple[Path, Spool]]:
    """A folder to watch and a spool that belong to a user who is not root."""
    with as_nobody():
        root = Path(tempfile.mkdtemp(prefix="scanward-"))
        (root / "inbox").mkdir()
        try:
            yield root / "inbox", Spool(root / "spool", reserve=0)
        finally:
            for path in (root / "inbox", *(root / "inbox").iterdir()):
                path.chmod(0o700)
            shutil.rmtree(root)


@pytest.fixture
def scanward(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`scanward("status", "-c", path)`; the tests' log is left as it is."""
    monkeypatch.setattr("daemon.logs.set_up_logs", lambda *arguments, **options: None)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
