"""From the last image to SEG and SR in the PACS, and the memory that it takes, for whole CTs through a real daemon."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console

from daemon.demo import DemoFolder, send_study, wait_for_jobs
from daemon.terminal.tables import plain_table
from engines.machine import usable_cores
from engines.plain_yaml import read_yaml, write_yaml
from pipelines.phantoms.dicom import write_phantom

QUIET_SECONDS = 2.0
CASES = (300, 1000)
TARGET_SECONDS, TARGET_GB = 2.0, 4.0
AIM = {300: 5.0}
"""Seconds from the last image to accepted, less the quiet period, inference included, on two cores with AMX or VNNI."""


@dataclass(frozen=True)
class Measured:
    """One CT.

    Attributes:
        total: Seconds from the last acknowledgement to SEG and SR accepted.
        infer: Seconds of those that the pipeline spent between loading and encoding.
        steps: Seconds per step of the worker.
        peak_gb: Largest sum of proportional set sizes of the daemon's whole process tree.
        engine: What computed.
    """

    images: int
    state: str
    total: float
    infer: float
    steps: dict[str, float]
    peak_gb: float
    engine: str

    @property
    def waited(self) -> float:
        """What a person waits for that the quiet period, which is for the hospital to choose, is no part of."""
        return self.total - QUIET_SECONDS

    @property
    def around(self) -> float:
        """What is left of that without inference."""
        return self.waited - self.infer


class MemoryWatch:
    """Samples the memory of this process's children while it is entered."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.25):
            self.peak = max(self.peak, sum(_pss(process) for process in psutil.Process().children(recursive=True)))


def _pss(process: psutil.Process) -> int:
    """Proportional set size: memory that processes share is counted once; the PACS beside us is not ours."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        if "storescp" not in process.cmdline():
            return int(process.memory_full_info().pss)
    return 0


def measure(images: int, folder: Path, *, memory: bool) -> Measured:
    """Sends one phantom CT of that many 512 x 512 slices through a fresh daemon; watches its time, or its memory.

    Never both: reading the proportional set size of a process stops its page faults for as long.
    """
    phantom = folder / "phantom"
    write_phantom("abdomen-ct", phantom, slices=images, matrix=512)
    demo_folder = DemoFolder(folder)
    demo_folder.write_configuration()
    settings = read_yaml(demo_folder.config.read_text())
    settings["assembly"] = {"quiet_period": f"{QUIET_SECONDS}s"}
    demo_folder.config.write_text(write_yaml(settings))
    watch = MemoryWatch()
    with watch if memory else contextlib.nullcontext(), demo_folder.peer(), demo_folder.daemon():
        time.sleep(8)  # the worker warms up meanwhile, as it would have long ago in a hospital
        send_study(demo_folder.scanner, phantom, lambda share: None)
        last = datetime.now(UTC)
        (row,) = wait_for_jobs(demo_folder, 1, lambda rows: None)
    database = demo_folder.database
    job = database.jobs.show(row.job_id or 0)
    database.close()
    accepted = [d.accepted_at for d in job.deliveries if d.accepted_at and d.result.startswith(("seg", "sr"))]
    total = (max(accepted) - last).total_seconds() if accepted else float("nan")
    steps = dict(job.job.timings)
    engines = "; ".join(engine.split(",")[0] for engine in job.job.engines.values())
    return Measured(images, str(row.state), total, steps.get("infer", 0.0), steps, watch.peak / 1e9, engines)


def main() -> None:
    """Prints a row per CT."""
    counts = tuple(int(argument) for argument in sys.argv[1:]) if __name__ == "__main__" and sys.argv[1:] else CASES
    title = "Last image to SEG and SR accepted, phantom CT 512 x 512"
    around, peak = f">Around s (<= {TARGET_SECONDS:.0f})", f">Peak GB (<= {TARGET_GB:.0f})"
    columns = ("Images", "Job", ">Total s", ">Less quiet s", ">Inference s", around, peak, "Worker")
    table = plain_table(*columns, title=title)
    engines = set()
    for images in counts:
        with tempfile.TemporaryDirectory(prefix="scanward-bench-") as name:
            one = measure(images, Path(name), memory=False)
        with tempfile.TemporaryDirectory(prefix="scanward-bench-") as name:
            peak_gb = measure(images, Path(name), memory=True).peak_gb
        steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in one.steps.items())
        aim = f" (aim {AIM[images]:.0f})" if images in AIM else ""
        seconds = (f"{one.total:.2f}", f"{one.waited:.2f}{aim}", f"{one.infer:.2f}", f"{one.around:.2f}")
        table.add_row(str(one.images), one.state, *seconds, f"{peak_gb:.2f}", steps)
        engines.add(one.engine)
    Console().print(table)
    Console().print(f"{usable_cores()} cores, quiet period {QUIET_SECONDS:g} s, served by {', '.join(sorted(engines))}")


if __name__ == "__main__":
    main()
