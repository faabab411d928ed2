"""kill -9 at the worst moments: nothing that was acknowledged is lost, every job ends, nothing is delivered twice."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from daemon.workers.roster import WorkerState
from daemon.workers.status import read_status
from dicomio.errors import DicomError
from dicomio.network.scu.sender import send
from pipelines.phantoms.dicom import PhantomTruth, write_phantom

Phantom = tuple[Path, PhantomTruth]


@pytest.fixture(scope="module")
def long_ct(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    out = tmp_path_factory.mktemp("long") / "dicom"
    return out, write_phantom("abdomen-ct", out, slices=200, matrix=512)


def test_killed_during_reception_and_during_a_job(
    make_daemon: Callable[..., Any], pacs: Any, long_ct: Phantom, until: Callable[..., None]
) -> None:
    folder, truth = long_ct
    paths = sorted(folder.rglob("*.dcm"))
    daemon = make_daemon(destinations={"pacs": pacs.destination})
    daemon.start()
    acknowledged: set[str] = set()
    enough = threading.Event()

    def note(result: Any) -> None:
        if result.accepted:
            acknowledged.add(result.sop_instance_uid)
        if len(acknowledged) >= 60:
            enough.set()

    def scan() -> None:
        with contextlib.suppress(DicomError):  # the daemon is killed under it
            send(daemon.peer, paths, on_result=note)

    scanner = threading.Thread(target=scan)
    scanner.start()
    assert enough.wait(60)
    daemon.kill(tree=True)  # with the main process alone gone, the listeners let the association end
    scanner.join(60)
    assert 60 <= len(acknowledged) < len(paths)

    daemon.start()

    def known() -> set[str]:
        if not daemon.jobs():  # it receives before it has indexed what lies there
            return set()
        study = daemon.database().studies.contents(truth.study_instance_uid)
        return {instance.sop_instance_uid for series in study.series for instance in series.instances}

    until(lambda: acknowledged <= known(), 30, lambda: f"{len(acknowledged - known())} acknowledged images are gone")
    with daemon.database().read() as session:
        ways = session.execute(text("SELECT DISTINCT origin, association_id IS NULL FROM instance")).all()
    assert ways == [("listener", 0)], "how an image came is told by its row, whenever the power went"

    send(daemon.peer, paths, on_result=note)  # the scanner sends the study again, as scanners do
    assert len(acknowledged) == len(paths)
    until(lambda: any(str(row.state) == "running" and row.study.images == len(paths) for row in daemon.jobs()), 120)
    daemon.kill()
    daemon.start()
    rows = daemon.settle(1)
    assert str(max(rows, key=lambda row: row.job_id or 0).state) == "done", rows
    assert set(pacs.stored.values()) == {1}


def test_a_killed_worker_costs_one_retry_and_a_second_one_the_job(
    make_daemon: Callable[..., Any], long_ct: Phantom, until: Callable[..., None]
) -> None:
    daemon = make_daemon()
    daemon.start()
    send(daemon.peer, sorted(long_ct[0].rglob("*.dcm")), on_result=lambda result: None)
    for death in (1, 2):
        until(lambda: any(str(row.state) == "running" for row in daemon.jobs()), 120, daemon.log.read_text)

        def died(number: int = death) -> bool:
            if deaths(daemon) < number:
                kill_busy_workers(daemon)
            return deaths(daemon) >= number

        until(died, 120, daemon.log.read_text)
    (row,) = daemon.settle(1)
    assert str(row.state) == "failed"
    assert "killed its worker twice" in row.why
    daemon.database().jobs.retry(row.job_id, "test")
    (row,) = daemon.settle(1)
    assert str(row.state) == "done"


def deaths(daemon: Any) -> int:
    (row,) = daemon.jobs()
    return int(daemon.job(row.job_id).job.deaths)


@pytest.mark.timeout(1200)
def test_a_hanging_worker_is_replaced_after_the_time_limit(
    make_daemon: Callable[..., Any], tmp_path: Path, until: Callable[..., None]
) -> None:
    # read within three seconds: the second try ends in time however slow and busy the machine is
    write_phantom("brain-mr", tmp_path / "dicom", slices=12, matrix=128)
    daemon = make_daemon(workers={"count": 1, "time_limit": "50s"})
    daemon.start()
    # one that hangs before it is ready gets no job, and another limit (`workers.start_limit`)
    until(lambda: ready(daemon), 500, lambda: daemon.log.read_text()[-3000:])
    for process in worker_processes(daemon):
        process.send_signal(signal.SIGSTOP)
    send(daemon.peer, sorted((tmp_path / "dicom" / "flair").glob("*.dcm")), on_result=lambda result: None)
    (row,) = daemon.settle(1, timeout=500)
    assert str(row.state) == "done"
    detail = daemon.job(row.job_id)
    assert detail.job.deaths == 1
    assert any("time limit" in event.because for event in detail.events)


def ready(daemon: Any) -> bool:
    """A worker has said that it may be given jobs."""
    status = read_status(daemon.folder / daemon.settings["data_dir"] / "status.json")
    return status is not None and any(worker.state is WorkerState.READY for worker in status.workers)


def worker_processes(daemon: Any) -> list[psutil.Process]:
    """Dask's worker processes are the ones that Python's multiprocessing spawned."""
    children = psutil.Process(daemon.process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def kill_busy_workers(daemon: Any) -> None:
    """Kills workers that have begun: one that is only starting has no job yet, and its death would be nobody's."""
    for process in worker_processes(daemon):
        with contextlib.suppress(OSError, psutil.Error):
            if "openvino" in Path(f"/proc/{process.pid}/maps").read_text():
                time.sleep(0.5)
                process.kill()
