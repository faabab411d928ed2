"""How fast images come in: our listener against Orthanc and dcmtk's storescp, on the same disk, in the same run.

A 300-image CT (512x512, 16 bit) is sent by dcmtk's dcmsend with one association and with four at once, each its own
series. Every repetition starts each server anew and lets them take turns, so that what else the machine does hits all
alike; a ratio is the median over the repetitions. Scanward and Orthanc answer when the image is on the disk; storescp
(C++, a process per association) does not wait for that, so it is the bar for a server that does nothing but write.
TCP_NODELAY=1 is set for dcmsend and for the servers of dcmtk: without it one measures dcmtk's Nagle delay. What was
received stays until the end (12 GB with the defaults): ext4 is slow to make files where others were removed lately,
which happens in no archive.

    python -m benchmarks.ingest [--images 300] [--repeat 5] [--folder /somewhere/on/the/disk/of/the/spool]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dicomio.network.listener.supervisor import Listener, ListenerSettings

ENVIRONMENT = os.environ | {"TCP_NODELAY": "1"}
ASSOCIATIONS = (1, 4)
MATRIX = 512


@dataclass(frozen=True)
class Run:
    """One transfer: `images` images of `megabytes` MB in total, in `seconds`."""

    images: int
    megabytes: float
    seconds: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def make_series(folder: Path, images: int, seed: int) -> None:
    """A CT series with noise for pixels, so that nothing on the way can gain by compressing it."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(1, images + 1):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.PatientID, image.PatientName, image.Modality = f"BENCH{seed}", "Bench^Mark", "CT"
        image.PatientBirthDate = image.PatientSex = image.AccessionNumber = image.ReferringPhysicianName = ""
        image.StudyDate, image.StudyTime, image.StudyID = "20260101", "120000", "1"
        image.SeriesNumber, image.InstanceNumber = 1, number
        image.Rows = image.Columns = MATRIX
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
        image.PixelRepresentation, image.SamplesPerPixel, image.PhotometricInterpretation = 0, 1, "MONOCHROME2"
        image.RescaleIntercept, image.RescaleSlope = -1024, 1
        image.PixelSpacing, image.SliceThickness = [0.7, 0.7], 1
        image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
        image.PixelData = random.integers(0, 4096, MATRIX * MATRIX, dtype=np.uint16).tobytes()
        image.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


def send(port: int, called: str, folders: list[Path]) -> Run:
    """Send each folder over an association of its own, all at once."""
    files = [file for folder in folders for file in folder.iterdir()]
    start = time.perf_counter()
    command = ["dcmsend", "127.0.0.1", str(port), "-aec", called, "+sd"]
    senders = [subprocess.Popen([*command, str(folder)], env=ENVIRONMENT) for folder in folders]
    codes = [sender.wait() for sender in senders]
    seconds = time.perf_counter() - start
    if any(codes):
        raise RuntimeError(f"dcmsend to {called} failed: exit codes {codes}")
    return Run(images=len(files), megabytes=sum(file.stat().st_size for file in files) / 1e6, seconds=seconds)


@contextmanager
def orthanc(folder: Path) -> Iterator[int]:
    """A fresh Orthanc with its storage and index in `folder`, synchronous; yields its DICOM port."""
    port = _free_port()
    configuration = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "SyncStorageArea": True,
        "StorageCompression": False,
        "HttpServerEnabled": False,
        "DicomServerEnabled": True,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with _serving(["Orthanc", str(folder / "orthanc.json")], folder / "log", port):
        yield port


@contextmanager
def _serving(command: list[str], log: Path, port: int) -> Iterator[None]:
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=stream, stderr=stream)
        try:
            _wait_for(port)
            yield
        finally:
            process.terminate()
            process.wait()


def measure_orthanc(folder: Path, series: list[Path]) -> Run:
    """One run against Orthanc; raises RuntimeError when it did not store all."""
    with orthanc(folder) as port:
        run = send(port, "ORTHANC", series)
    _check("Orthanc", run, folder, "db/??/??/*")
    return run


def measure_storescp(folder: Path, series: list[Path]) -> Run:
    """One run against dcmtk's storescp, which writes what comes as it comes; RuntimeError when it did not store all."""
    port = _free_port()
    (folder / "received").mkdir()
    command = ["storescp", "--fork", "+B", "-od", str(folder / "received"), str(port)]
    with _serving(command, folder / "log", port):
        run = send(port, "STORESCP", series)
    _check("storescp", run, folder, "received/*")
    return run


def measure_scanward(folder: Path, series: list[Path]) -> Run:
    """One run against our listener; raises RuntimeError when it did not store all."""
    settings = ListenerSettings(spool=folder, host="127.0.0.1", port=0)
    with Listener(settings) as listener:
        run = send(listener.port, settings.ae_title, series)
    _check("the listener", run, folder, "incoming/*")
    return run


def _check(server: str, run: Run, folder: Path, pattern: str) -> None:
    stored = sum(1 for path in folder.glob(pattern) if path.stat().st_size > MATRIX * MATRIX)
    if stored != run.images:
        raise RuntimeError(f"{server} stored {stored} of {run.images} images")


Measure = Callable[[Path, list[Path]], Run]
SERVERS: dict[str, Measure] = {
    "Scanward": measure_scanward,
    "Orthanc": measure_orthanc,
    "storescp": measure_storescp,
}
Round = dict[str, Run]


def compare(root: Path, images: int, repeat: int, console: Console) -> dict[int, list[Round]]:
    """Rounds, each a run of every server, by number of associations."""
    rounds: dict[int, list[Round]] = {associations: [] for associations in ASSOCIATIONS}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("making the CT", total=max(ASSOCIATIONS) + repeat * len(ASSOCIATIONS))
        series = [root / f"series{number}" for number in range(max(ASSOCIATIONS))]
        for number, folder in enumerate(series):
            make_series(folder, images, number)
            progress.advance(task)
        for repetition in range(repeat):
            progress.update(task, description=f"repetition {repetition + 1} of {repeat}")
            for associations in ASSOCIATIONS:
                rounds[associations].append(_one_round(root, series[:associations], repetition))
                progress.advance(task)
    return rounds


def _one_round(root: Path, series: list[Path], repetition: int) -> Round:
    names = list(SERVERS)
    first = repetition % len(names)
    runs = {}
    for name in names[first:] + names[:first]:
        folder = root / f"{name}-{len(series)}-{repetition}"
        folder.mkdir()
        runs[name] = SERVERS[name](folder, series)
        os.sync()  # or the next one would wait for what this one left to be written
    return runs


def table(rounds: dict[int, list[Round]], images: int) -> Table:
    """The result, medians over the repetitions."""
    result = Table(title=f"Ingest: {images} CT images of {MATRIX}x{MATRIX} per association")
    for heading in ("senders", "Scanward img/s", "MB/s"):
        result.add_column(heading, justify="right")
    others = [name for name in SERVERS if name != "Scanward"]
    for name in others:
        for heading in (f"{name} img/s", "ratio", "from..to"):
            result.add_column(heading, justify="right")
    for associations, runs in rounds.items():
        cells = [f"{value:.0f}" for value in _median([run["Scanward"] for run in runs])]
        for name in others:
            cells += [f"{_median([run[name] for run in runs])[0]:.0f}", *_ratio(runs, name)]
        result.add_row(str(associations), *cells)
    return result


def _ratio(rounds: list[Round], name: str) -> tuple[str, str]:
    """How many times as fast as `name` we are: the median, and the range."""
    ratios = sorted(runs["Scanward"].rate / runs[name].rate for runs in rounds)
    return f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f}..{ratios[-1]:.2f}"


def _median(runs: list[Run]) -> tuple[float, float]:
    """Images and megabytes per second."""
    return statistics.median(run.rate for run in runs), statistics.median(run.megabytes / run.seconds for run in runs)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing listens on port {port} after {seconds:.0f} s")


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison and print the table."""
    parser = argparse.ArgumentParser(description="Ingest speed against Orthanc and storescp.")
    parser.add_argument("--images", type=int, default=300, help="per association")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a temporary folder by default")
    options = parser.parse_args(arguments)
    console = Console(width=None if Console().is_terminal else 120)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for program in ("dcmsend", "storescp", "Orthanc"):
        if shutil.which(program) is None:
            console.print(f"ingest: {program} is not installed (Debian: apt install dcmtk orthanc)")
            return 1
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="scanward-ingest-") as root:
        console.print(table(compare(Path(root), options.images, options.repeat, console), options.images))
    return 0


if __name__ == "__main__":
    sys.exit(main())
