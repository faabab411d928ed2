"""What every test may ask for. A missing program is skipped with a reason on a user's machine and fails in CI."""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import settings
from pynetdicom import AE

from tests.postgres import Cluster, binaries

settings.register_profile("no deadline", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("no deadline")

# Tables are as wide as the words that tests look for, wherever they run (pytest's worker processes have 80 columns).
os.environ["COLUMNS"] = "160"

SHARED = Path(os.environ.get("SCANWARD_SHARED", Path(__file__).resolve().parents[2] / "shared"))
IN_CI = os.environ.get("CI") == "true"


def skip_or_fail(reason: str) -> None:
    """Skips on a user's machine; in CI, where .ci/run installs everything, a missing package is an error."""
    if IN_CI:
        pytest.fail(f"CI must not skip: {reason}")
    pytest.skip(reason)


@functools.cache
def dcmtk(program: str) -> str | None:
    """dcmtk's program of that name: pynetdicom installs others under the same names (storescu, echoscu, ...)."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = shutil.which(program, path=folder)
        if path and "dcmtk" in subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout:
            return path
    return None


@pytest.fixture
def needs() -> Callable[..., str]:
    """`needs("dcmsend", package="dcmtk")` returns the program's path, or skips (fails in CI) without it."""

    def find(program: str, *, package: str = "") -> str:
        path = dcmtk(program) if package == "dcmtk" else shutil.which(program)
        if path is None:
            skip_or_fail(f"{program} is not installed (Debian package {package or program})")
        return path or ""

    return find


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A TCP port that is free on the loopback address at the time of asking."""
    return _free_port()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The team's shared data (real scans); tests that need it are skipped on machines that do not have it."""
    if not (SHARED / "data").is_dir():
        skip_or_fail(f"the shared data is not at {SHARED}")
    return SHARED / "data"


@pytest.fixture(scope="session")
def dicom_samples(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the real DICOM series of the shared data, unpacked once per session."""
    folder = tmp_path_factory.mktemp("dicom-samples")
    with tarfile.open(shared_data / "dicom-samples.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc."""

    http_port: int
    dicom_port: int

    def store(self, *paths: Path) -> None:
        """Sends files to it by C-STORE and fails unless it took every one."""
        entity, datasets = AE("SCANWARD"), [pydicom.dcmread(path) for path in paths]
        for dataset in datasets:
            entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", self.dicom_port, ae_title="ORTHANC")
        assert association.is_established
        statuses = {dataset.SOPInstanceUID: association.send_c_store(dataset).Status for dataset in datasets}
        association.release()
        assert set(statuses.values()) == {0x0000}

    def get(self, path: str) -> Any:
        """The JSON behind a path of its REST interface."""
        return json.loads(self.read(path))

    def find(self, sop_instance_uid: str) -> list[str]:
        """Its own identifiers of the instances with this UID."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}/tools/lookup", data=sop_instance_uid.encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return [match["ID"] for match in json.loads(answer.read()) if match["Type"] == "Instance"]

    def read(self, path: str) -> bytes:
        """The bytes behind a path of its REST interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as answer:
            return bytes(answer.read())


@pytest.fixture
def orthanc(needs: Callable[..., str], tmp_path: Path) -> Iterator[Orthanc]:
    """A real Orthanc with an empty archive of its own."""
    program = needs("Orthanc", package="orthanc")
    server = Orthanc(_free_port(), _free_port())
    configuration = {
        "Name": "test",
        "StorageDirectory": str(tmp_path / "orthanc"),
        "IndexDirectory": str(tmp_path / "orthanc"),
        "HttpPort": server.http_port,
        "DicomPort": server.dicom_port,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": False,
        "UnknownSopClassAccepted": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
    }
    path = tmp_path / "orthanc.json"
    path.write_text(json.dumps(configuration))
    process = subprocess.Popen([program, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_up(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_up(server: Orthanc, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert process.poll() is None, "Orthanc ended by itself"
        try:
            server.get("/system")
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("Orthanc does not answer")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server, for all tests of this process."""
    programs = binaries()
    if programs is None:
        skip_or_fail("PostgreSQL's initdb is not installed (Debian package postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="scanward-pg-", dir="/tmp"))
    running = Cluster(programs or folder, folder)
    yield running
    running.stop()
    shutil.rmtree(folder)
