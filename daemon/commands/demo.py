from __future__ import annotations

import shutil
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from daemon.commands.options import console
from daemon.demo import Comparison, DemoFolder, compare, make_phantoms, send_study, wait_for_jobs
from daemon.errors import WrongUsage
from daemon.terminal.tables import plain_table, styled_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from db.records import JobSummary
    from pipelines.phantoms.dicom import PhantomTruth

MARKER = ".scanward-demo"
GOOD_ENOUGH = 0.5
"""Dice below which a phantom's lesion does not count as found."""


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for everything the demo makes; made anew.")] = Path(
        "demo-out"
    ),
) -> None:
    """Send two phantom studies through a real daemon to a real DICOM peer; print found and true values."""
    started = time.monotonic()
    demo_folder = DemoFolder(_fresh(out))
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("Making phantoms", total=None)
        phantoms = make_phantoms(demo_folder.folder)
        progress.update(task, total=1, completed=1)
        demo_folder.write_configuration()
        compared = _run(demo_folder, phantoms, progress)
    _print(demo_folder, compared, time.monotonic() - started)
    found = [one for one in compared if one.job.job.state == "done" and one.dice["lesions"] >= GOOD_ENOUGH]
    if len(found) < len(phantoms):
        raise typer.Exit(1)


def _fresh(out: Path) -> Path:
    if out.exists():
        if not (out / MARKER).is_file():
            raise WrongUsage(reason=f"{out} exists and is not the folder of a demo; choose another with --out")
        shutil.rmtree(out)
    out.mkdir(mode=0o700, parents=True)
    (out / MARKER).touch()
    return out.resolve()


def _run(
    demo_folder: DemoFolder, phantoms: Mapping[str, tuple[Path, PhantomTruth]], progress: Progress
) -> list[Comparison]:
    task = progress.add_task("Starting the daemon and its PACS", total=None)
    with demo_folder.peer(), demo_folder.daemon():
        progress.update(task, total=1, completed=1)
        for kind, (folder, _) in phantoms.items():
            sending = progress.add_task(f"Sending {kind}", total=1.0)
            send_study(demo_folder.scanner, folder, partial(_show, progress, sending))
        waiting = progress.add_task("Waiting for the jobs", total=float(len(phantoms)))

        def report(rows: list[JobSummary]) -> None:
            states = ", ".join(f"{row.pipeline or 'study'} {row.state}" for row in rows)
            ended = sum(row.state == "done" for row in rows)
            progress.update(waiting, description=f"Jobs: {states or 'none yet'}", completed=ended)

        rows = wait_for_jobs(demo_folder, len(phantoms), report)
    database = demo_folder.database
    last = {row.study.study_instance_uid: row.job_id for row in sorted(rows, key=lambda row: row.job_id or 0)}
    jobs = {study: database.jobs.show(job_id) for study, job_id in last.items() if job_id is not None}
    database.close()
    return [
        compare(demo_folder, kind, folder, truth, jobs[truth.study_instance_uid])
        for kind, (folder, truth) in phantoms.items()
        if truth.study_instance_uid in jobs
    ]


def _show(progress: Progress, task: TaskID, share: float) -> None:
    progress.update(task, completed=share)


def _print(demo_folder: DemoFolder, compared: list[Comparison], seconds: float) -> None:
    table = plain_table(
        "Study", "What", ">Found", ">True", ">Dice", title="Found and true values (from the SEG that the PACS received)"
    )
    for one in compared:
        for what, (found, true) in one.figures.items():
            name = what.removesuffix(" volume ml")
            dice = f"{one.dice['lesions' if name == 'lesion' else name]:.3f}" if "volume" in what else ""
            table.add_row(one.kind, what, f"{found:.1f}", f"{true:.1f}", dice)
    console.print(table)
    for one in compared:
        history = plain_table("When", "Change", "Reason", title=f"History of job {one.job.job.id} ({one.kind})")
        first = one.job.study.first_received_at
        for at, move, why in changes(one):
            history.add_row(f"+{(at - first).total_seconds():6.2f} s", move, why)
        console.print(history)
        times = ", ".join(f"{step} {value:.2f} s" for step, value in one.job.job.timings.items())
        console.print(f"worker: {times}; ", styled_state(str(one.job.job.state)), sep="")
        pictures = [result.path for result in one.job.results if result.kind == "overlay"]
        console.print(f"pictures: {pictures[0].parent if pictures else 'none'}", soft_wrap=True)
    console.print(
        f"\nThe PACS received its files in {demo_folder.received}; "
        f"the daemon's log is {demo_folder.folder / 'daemon.log'}",
        soft_wrap=True,
    )
    console.print(f"See also: scanward jobs list -c {demo_folder.config}", soft_wrap=True)
    console.print(f"Done in {seconds:.0f} s. Research use only, not a medical device.")


def changes(one: Comparison) -> list[tuple[datetime, str, str]]:
    """When, what, why: the study's arrival, and the changes of its job; the same of several deliveries in one line."""
    study = one.job.study
    told = [(study.first_received_at, "first image", f"{study.images} images in all")]
    told.append((study.last_received_at, "last image", ""))
    if study.completed_at:
        told.append((study.completed_at, "receiving -> complete", study.completed_because or ""))
    counted: dict[str, int] = {}
    for event in one.job.events:
        counted[event.event] = counted.get(event.event, 0) + 1
    seen: set[str] = set()
    for event in one.job.events:
        if event.event not in seen:
            times = f" ({counted[event.event]} objects)" if event.delivery_id else ""
            told.append((event.at, event.event + times, event.because))
            seen.add(event.event)
    return sorted(told)
