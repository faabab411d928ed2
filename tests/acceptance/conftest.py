"""A real daemon on a free port, in a folder of its own, that tests can start, kill and start again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

from daemon.demo import free_ports
from db.database import Database
from db.errors import DatabaseUnavailable, OutdatedSchema, StoreError
from db.records import JobDetail, JobFilter, JobSummary
from dicomio.errors import DicomError
from dicomio.network.scu.sender import Peer, echo
from engines.plain_yaml import write_yaml
from pipelines.phantoms.dicom import PhantomTruth, write_phantom
from pipelines.rules.builtin import BUILTIN_RULES

RESTING = {"done", "failed", "refused", "unmatched", "superseded", "cancelled"}


class Daemon:
    """`scanward serve` as a process, and its database."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        self.config = folder / "scanward.yaml"
        self.settings: dict[str, Any] = {
            "data_dir": "data",
            "listener": {"ae_title": "SCANWARD", "host": "127.0.0.1", "port": self.port},
            "assembly": {"quiet_period": "2s", "after_release": "0.7s"},
            "rules": "rules.yaml",
            **settings,
        }
        self.config.write_text(write_yaml(self.settings))
        self.rules = folder / "rules.yaml"
        destinations = list(self.settings.get("destinations", {}))
        self.rules.write_text(BUILTIN_RULES.replace("send_to: []", f"send_to: [{', '.join(destinations)}]"))
        self.log = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def plans(self) -> Path:
        return self.folder / str(self.settings["data_dir"]) / "plans"

    @property
    def peer(self) -> Peer:
        return Peer(ae_title="SCANWARD", host="127.0.0.1", port=self.port, calling_ae="TESTSCANNER")

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "daemon.cli", "serve", "-c", str(self.config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        until(self._answers, 60, lambda: self.log.read_text()[-3000:])

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            echo(self.peer)
            self.database().check()  # receiving starts before it
        except (DicomError, StoreError):
            return False
        return True

    def kill(self, *, tree: bool = False) -> None:
        """kill -9 of the daemon's main process; its children must notice by themselves. With `tree`, of all of them."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        for child in children if tree else ():
            child.kill()
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(children, timeout=20)
        assert not [child for child in children if child.is_running()], "children outlived the daemon"

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
            self.process.kill()
            raise

    def database(self) -> Database:
        data_dir = self.folder / self.settings["data_dir"]
        return Database(f"sqlite:///{data_dir}/scanward.sqlite", data_dir)

    def jobs(self) -> list[JobSummary]:
        """Latest change first; none as long as there are no tables, for the listener answers before there are."""
        try:
            return list(self.database().jobs.find(JobFilter()))
        except (OutdatedSchema, DatabaseUnavailable):
            return []

    def job(self, job_id: int) -> JobDetail:
        return self.database().jobs.show(job_id)

    def settle(self, rows: int, timeout: float = 150) -> list[JobSummary]:
        """Waits until there are that many rows, all of them at rest."""

        def settled() -> bool:
            found = self.jobs()
            return len(found) >= rows and all(str(row.state) in RESTING for row in found)

        until(settled, timeout, lambda: f"{self.jobs()}\n{self.log.read_text()[-3000:]}")
        return self.jobs()


def until(true: Callable[[], bool], timeout: float, explain: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {timeout} s\n{explain()}")
        time.sleep(0.1)


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., None]:
    return until


@pytest.fixture(scope="session")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first daemon of this process compiled and admitted; the others open it as any second start does."""
    return tmp_path_factory.mktemp("plans") / "plans"


@pytest.fixture
def make_daemon(tmp_path: Path, plans: Path) -> Iterator[Callable[..., Daemon]]:
    started: list[Daemon] = []

    def make(**settings: Any) -> Daemon:
        folder = tmp_path / f"daemon{len(started)}"
        folder.mkdir()
        started.append(Daemon(folder, **settings))
        if plans.exists() and "data_dir" not in settings:  # a disk of its own may be a small one
            started[-1].plans.parent.mkdir(mode=0o700)
            shutil.copytree(plans, started[-1].plans)
        return started[-1]

    yield make
    for daemon in started:
        daemon.stop()
    if started and not plans.exists() and started[0].plans.exists():
        shutil.copytree(started[0].plans, part := plans.with_suffix(".part"))
        part.rename(plans)


class CountingPacs:
    """A real SCP that counts how often each instance was stored; may refuse for a while."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.stored: Counter[str] = Counter()
        self.answer = 0x0000
        self._lock = threading.Lock()
        self._server: Any = None

    def start(self) -> None:
        ae = AE("COUNTING")
        ae.supported_contexts = AllStoragePresentationContexts
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    def _store(self, event: evt.Event) -> int:
        if self.answer == 0x0000:
            with self._lock:
                self.stored[str(event.request.AffectedSOPInstanceUID)] += 1
        return self.answer

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    @property
    def destination(self) -> dict[str, Any]:
        return {"ae_title": "COUNTING", "host": "127.0.0.1", "port": self.port}


@pytest.fixture
def pacs() -> Iterator[CountingPacs]:
    server = CountingPacs()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def brain_phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomTruth]:
    out = tmp_path_factory.mktemp("brain") / "dicom"
    return out, write_phantom("brain-mr", out, slices=16)


@pytest.fixture(scope="session")
def abdomen_phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomTruth]:
    out = tmp_path_factory.mktemp("abdomen") / "dicom"
    return out, write_phantom("abdomen-ct", out, slices=40, matrix=256)
