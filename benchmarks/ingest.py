"""How fast images come in: our listener against Orthanc, both durable, on the same disk, in the same run.

A 300-image CT (512x512, 16 bit) is sent by dcmtk's dcmsend with one association and with four at once, each its own
series. Every repetition starts both servers anew and lets them take turns, so that what else the machine does hits both
alike; the ratio is the median over the repetitions. TCP_NODELAY=1 is set for dcmsend and for Orthanc (which is dcmtk
inside): without it one measures dcmtk's Nagle delay.

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
from collections.abc import Iterator
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

from dicomio.listener import Listener, ListenerSettings

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
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
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
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", folder / "orthanc.json"], env=ENVIRONMENT, stdout=log, stderr=log)
        try:
            _wait_for(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def measure_orthanc(folder: Path, series: list[Path]) -> Run:
    """One run against Orthanc; raises RuntimeError when it did not store all."""
    with orthanc(folder) as port:
        run = send(port, "ORTHANC", series)
    stored = sum(1 for path in (folder / "db").glob("??/??/*") if path.stat().st_size > MATRIX * MATRIX)
    if stored != run.images:
        raise RuntimeError(f"Orthanc stored {stored} of {run.images} images")
    return run


def measure_scanward(folder: Path, series: list[Path]) -> Run:
    """One run against our listener; raises RuntimeError when it did not store all."""
    settings = ListenerSettings(spool=folder, host="127.0.0.1", port=0)
    with Listener(settings) as listener:
        run = send(listener.port, settings.ae_title, series)
    stored = len(list((folder / "incoming").iterdir()))
    if stored != run.images:
        raise RuntimeError(f"the listener stored {stored} of {run.images} images")
    return run


def compare(root: Path, images: int, repeat: int, console: Console) -> dict[int, list[tuple[Run, Run]]]:
    """Pairs of (ours, Orthanc's) runs by number of associations."""
    runs: dict[int, list[tuple[Run, Run]]] = {associations: [] for associations in ASSOCIATIONS}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("making the CT", total=max(ASSOCIATIONS) + repeat * len(ASSOCIATIONS))
        series = [root / f"series{number}" for number in range(max(ASSOCIATIONS))]
        for number, folder in enumerate(series):
            make_series(folder, images, number)
            progress.advance(task)
        for repetition in range(repeat):
            progress.update(task, description=f"repetition {repetition + 1} of {repeat}")
            for associations in ASSOCIATIONS:
                runs[associations].append(_one_pair(root, series[:associations], ours_first=bool(repetition % 2)))
                progress.advance(task)
    return runs


def _one_pair(root: Path, series: list[Path], *, ours_first: bool) -> tuple[Run, Run]:
    ours, theirs = root / "scanward", root / "orthanc"
    try:
        if ours_first:
            first = measure_scanward(ours, series)
            return first, measure_orthanc(theirs, series)
        second = measure_orthanc(theirs, series)
        return measure_scanward(ours, series), second
    finally:
        shutil.rmtree(ours, ignore_errors=True)
        shutil.rmtree(theirs, ignore_errors=True)


def table(runs: dict[int, list[tuple[Run, Run]]], images: int) -> Table:
    """The result, medians over the repetitions."""
    result = Table(title=f"Ingest: {images} CT images of {MATRIX}x{MATRIX} per association, durable")
    for heading in ("senders", "Scanward img/s", "MB/s", "Orthanc img/s", "MB/s", "ratio", "from..to"):
        result.add_column(heading, justify="right")
    for associations, pairs in runs.items():
        ours, theirs = _median([pair[0] for pair in pairs]), _median([pair[1] for pair in pairs])
        ratios = sorted(pair[0].rate / pair[1].rate for pair in pairs)
        result.add_row(
            str(associations),
            *(f"{value:.0f}" for value in (*ours, *theirs)),
            f"{statistics.median(ratios):.2f}",
            f"{ratios[0]:.2f}..{ratios[-1]:.2f}",
        )
    return result


def _median(runs: list[Run]) -> tuple[float, float]:
    """Images and megabytes per second."""
    return statistics.median(run.rate for run in runs), statistics.median(run.megabytes / run.seconds for run in runs)


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
    parser = argparse.ArgumentParser(description="Ingest speed against Orthanc.")
    parser.add_argument("--images", type=int, default=300, help="per association")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a temporary folder by default")
    options = parser.parse_args(arguments)
    console = Console()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for program in ("dcmsend", "Orthanc"):
        if shutil.which(program) is None:
            console.print(f"ingest: {program} is not installed (Debian: apt install dcmtk orthanc)")
            return 1
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="scanward-ingest-") as root:
        console.print(table(compare(Path(root), options.images, options.repeat, console), options.images))
    return 0


if __name__ == "__main__":
    sys.exit(main())
