"""Phantoms through a real daemon to a real DICOM peer, and what was found compared with what is true."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom

from daemon.errors import NotRunnable
from db.database import Database
from db.errors import StoreError
from db.records import JobFilter
from db.states import JobState
from dicomio.errors import DicomError
from dicomio.network.scu.sender import Peer, echo, send
from dicomio.results.segmentation.readback import read_masks
from dicomio.volumes.volume import load_volume
from engines.plain_yaml import write_yaml
from pipelines.phantoms.dicom import PhantomTruth, write_phantom
from pipelines.rules.builtin import BUILTIN_RULES

if TYPE_CHECKING:
    from db.records import JobDetail, JobSummary
    from dicomio.volumes.volume import Volume

PHANTOMS = ("brain-mr", "abdomen-ct")
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
PARTS = {"edema": "Edema", "non-enhancing core": "Non-enhancing", "enhancing": "Enhancing"}
"""Part of a phantom's glioma -> how the labels of its segments begin."""

LESIONS = ("Lesion", *PARTS.values())
START_TIMEOUT = 60.0
JOBS_TIMEOUT = 150.0


@dataclass(frozen=True)
class Comparison:
    """One study's findings and its truth.

    Attributes:
        figures: What -> (found, true).
        dice: Structure -> Dice of the SEG that the peer received against the true mask.
    """

    kind: str
    job: JobDetail
    figures: Mapping[str, tuple[float, float]]
    dice: Mapping[str, float]


class DemoFolder:
    """The folder of a demo, and the processes that run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.received = folder / "pacs"
        self.port, self.peer_port = free_ports(2)

    @property
    def config(self) -> Path:
        """The daemon's configuration file."""
        return self.folder / "scanward.yaml"

    @property
    def database(self) -> Database:
        """The daemon's job database."""
        return Database(f"sqlite:///{self.folder / 'data' / 'scanward.sqlite'}", self.folder / "data")

    @property
    def scanner(self) -> Peer:
        """The daemon, as a scanner sees it."""
        return Peer(ae_title="SCANWARD", host="127.0.0.1", port=self.port, calling_ae="PHANTOM")

    def write_configuration(self) -> None:
        """Embedded defaults: own ports, short quiet period, the built-in rules."""
        settings = {
            "data_dir": "data",
            "listener": {"ae_title": "SCANWARD", "host": "127.0.0.1", "port": self.port},
            "assembly": {"quiet_period": "3s", "after_release": "1s"},
            "destinations": {"pacs": {"ae_title": "DEMOPACS", "host": "127.0.0.1", "port": self.peer_port}},
            "rules": "rules.yaml",
        }
        self.config.write_text("# Written by `scanward demo`.\n" + write_yaml(settings))
        (self.folder / "rules.yaml").write_text(BUILTIN_RULES.replace("send_to: []", "send_to: [pacs]"))

    @contextmanager
    def peer(self) -> Iterator[None]:
        """A real DICOM peer in its own process: pynetdicom's storescp, which writes what it receives to `pacs/`."""
        self.received.mkdir()
        arguments = [
            "-m",
            "pynetdicom",
            "storescp",
            str(self.peer_port),
            "-aet",
            "DEMOPACS",
            "-od",
            str(self.received),
            "-q",
        ]
        with running([sys.executable, *arguments], self.folder / "pacs.log"):
            yield

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """`scanward serve` in its own process, once it answers C-ECHO."""
        with running(
            [sys.executable, "-m", "daemon.cli", "serve", "-c", str(self.config)], self.folder / "daemon.log"
        ) as process:
            self._wait_for_echo(process)
            yield

    def _wait_for_echo(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                echo(self.scanner)
                self.database.check()  # receiving starts before it
            except (DicomError, StoreError):
                time.sleep(0.2)
            else:
                return
        raise NotRunnable(reason=f"the daemon did not start; its log is {self.folder / 'daemon.log'}")


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in a file; asked to stop at the end, and killed if it does not."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)  # noqa: S603
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback address that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def make_phantoms(folder: Path) -> dict[str, tuple[Path, PhantomTruth]]:
    """Writes one study of each kind; returns folder and truth by kind."""
    made = {}
    for kind in PHANTOMS:
        out = folder / "phantoms" / kind / "dicom"
        made[kind] = (out, write_phantom(kind, out))
    return made


def send_study(scanner: Peer, folder: Path, report: Callable[[float], None]) -> int:
    """Sends a folder to the daemon by C-STORE; returns how many images were acknowledged."""
    paths = sorted(folder.rglob("*.dcm"))
    done = 0

    def count(result: Any) -> None:
        nonlocal done
        done += int(result.accepted)
        report(done / len(paths))

    send(scanner, paths, on_result=count)
    if done != len(paths):
        raise NotRunnable(reason=f"the daemon acknowledged {done} of {len(paths)} images")
    return done


def wait_for_jobs(
    demo_folder: DemoFolder, studies: int, report: Callable[[list[JobSummary]], None]
) -> list[JobSummary]:
    """Waits until every study has a job that has ended; tells `report` the jobs so far."""
    ended = {JobState.DONE, JobState.FAILED, JobState.REFUSED, JobState.SUPERSEDED}
    database = demo_folder.database
    deadline = time.monotonic() + JOBS_TIMEOUT
    try:
        while time.monotonic() < deadline:
            rows = list(database.jobs.find(JobFilter()))
            report(rows)
            if len(rows) >= studies and all(row.state in ended or row.state == "unmatched" for row in rows):
                return rows
            time.sleep(0.3)
    finally:
        database.close()
    raise NotRunnable(reason=f"the jobs did not end in {JOBS_TIMEOUT:.0f} s; see {demo_folder.folder / 'daemon.log'}")


def compare(demo_folder: DemoFolder, kind: str, folder: Path, truth: PhantomTruth, job: JobDetail) -> Comparison:
    """Reads the SEG that the peer received, and puts it and the database's figures beside the truth."""
    volume = load_volume(main_series(folder, truth))
    found = received_masks(demo_folder.received, volume)
    figures = {m.quantity: m.value or 0.0 for m in job.measurements if m.subject == ""}
    true_lesions = truth.masks["lesion"]
    outlined = [found[kind] for kind in LESIONS if kind in found]
    dice = {"lesions": dice_of(np.logical_or.reduce([np.zeros_like(true_lesions), *outlined]), true_lesions)}
    pairs = {
        "lesions": (figures.get("Tumour count", 0.0), float(len(truth.lesion_volumes_ml))),
        "lesion volume ml": (figures.get("Tumour volume", 0.0), sum(truth.lesion_volumes_ml)),
    }
    if "liver" in truth.masks:
        liver = truth.masks["liver"] | true_lesions
        dice["liver"] = dice_of(found.get("Liver", np.zeros_like(liver)), liver)
        pairs["liver volume ml"] = (figures.get("Liver volume", 0.0), float(liver.sum() * volume.voxel_ml))
    for part, label in PARTS.items() if outlined and "Lesion" not in found else ():
        name = f"{part} volume ml"
        dice[part] = dice_of(found.get(label, np.zeros_like(true_lesions)), truth.masks[part])
        pairs[name] = (
            figures.get(f"{part.capitalize()} volume", 0.0),
            float(truth.masks[part].sum() * volume.voxel_ml),
        )
    return Comparison(kind, job, pairs, dice)


def main_series(folder: Path, truth: PhantomTruth) -> list[Path]:
    """The files of the series that the truth lies on."""
    return [
        p
        for p in sorted(folder.rglob("*.dcm"))
        if pydicom.dcmread(p, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID == truth.series_instance_uid
    ]


def received_masks(inbox: Path, volume: Volume) -> dict[str, np.ndarray]:
    """Union of the received segments on the volume's grid, by the first word of their label ("Lesion", "Liver")."""
    masks: dict[str, np.ndarray] = {}
    for path in inbox.rglob("*"):
        if not path.is_file():
            continue
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if header.SOPClassUID != SEGMENTATION or header.FrameOfReferenceUID != volume.frame_of_reference_uid:
            continue
        for label, mask in read_masks(path, volume).items():
            kind = label.split()[0]
            masks[kind] = masks.get(kind, np.zeros(volume.array.shape, dtype=bool)) | mask
    return masks


def dice_of(found: np.ndarray, true: np.ndarray) -> float:
    """Dice similarity coefficient; 1 when both are empty."""
    total = int(found.sum()) + int(true.sum())
    return 1.0 if total == 0 else float(2 * np.logical_and(found, true).sum() / total)
