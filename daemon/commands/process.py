from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from daemon.commands.options import JsonOption, console, notes
from daemon.errors import WrongUsage
from daemon.intake.study_folder import FolderContents, FolderStudy, digest_of, read_folder
from daemon.terminal.tables import files_table, findings_table
from engines.contract import EngineSettings
from pipelines.completeness import mention_lost
from pipelines.job import EngineChoice, JobDescription, JobSeries, Outcome, UnusableImage
from pipelines.registry import PIPELINES, model_digest, packages_for, pipeline_named
from pipelines.rules.builtin import builtin_rules
from pipelines.rules.file import load_rules
from pipelines.rules.routing import PlannedJob, Unmatched, plan_jobs, route
from pipelines.series_notes import notes_on_series
from pipelines.worker import JobRunner

if TYPE_CHECKING:
    from pipelines.rules.model import RuleSet

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "scanward"


def process(
    folder: Annotated[Path, typer.Argument(help="Folder with the DICOM files of a study, at any depth.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for SEG, SR and pictures.")] = Path("scanward-out"),
    pipeline: Annotated[str | None, typer.Option(help=f"Only this one: {', '.join(PIPELINES)}.")] = None,
    rules: Annotated[Path | None, typer.Option(help="Rule file; by default the built-in rules.")] = None,
    models: Annotated[list[Path] | None, typer.Option(help="Folder with further model packages; repeat.")] = None,
    backend: Annotated[str, typer.Option(help="auto, tensorrt, openvino or onnxruntime.")] = "auto",
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Run though images of a series are damaged, and say so; else refuse.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Process one study from a folder, without a PACS: SEG, SR, overlay PNGs and a table."""
    if pipeline is not None:
        pipeline_named(pipeline)
    if out.resolve() == folder.resolve():
        raise WrongUsage(
            reason=f"the results cannot go into the study's own folder {folder}; choose another with --out"
        )
    _check_writable(out)
    wanted = _Wanted(
        out,
        pipeline,
        load_rules(rules, known_pipelines=PIPELINES) if rules else builtin_rules(pipeline),
        _settings(backend),
        tuple(models or ()),
        lenient,
    )
    with TemporaryDirectory(prefix="scanward-process-") as scratch:
        contents = _contents(folder, Path(scratch))
        plans = [_plan(study, contents, wanted) for study in contents.studies]
        jobs = [job for plan in plans for job in plan.jobs]
        for job in jobs:
            _check_writable(Path(job.output))
        outcomes = _run_all(jobs, show=not as_json)
    if as_json:
        console.print_as_json(_plain(contents, plans, jobs, outcomes))
    else:
        _print_unmatched(plans)
        if contents.unusable:
            told = ", ".join(f"{count} {kind}" for kind, count in contents.unusable.items())
            console.print(f"Files that could not be used: {told}", style="yellow")
    if not outcomes or any(outcome.refused for outcome in outcomes):
        raise typer.Exit(1)


def _settings(backend: str) -> EngineSettings:
    try:
        return EngineSettings.model_validate({"backend": backend, "cache_dir": CACHE})
    except ValidationError:
        raise WrongUsage(
            reason=f"--backend: there is no {backend!r}; auto, tensorrt, openvino or onnxruntime"
        ) from None


def _check_writable(out: Path) -> None:
    """Before the work, which takes minutes, rather than after it."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists() or path.is_symlink())
    if not there.is_dir():
        raise WrongUsage(reason=f"the results cannot go into {out}: {there} is not a folder; choose another with --out")
    try:
        TemporaryFile(dir=there).close()
    except OSError as error:
        reason = f"{there} cannot be written to ({error.strerror})"
        raise WrongUsage(reason=f"the results cannot go into {out}: {reason}; choose another with --out") from error


@dataclass(frozen=True)
class _Wanted:
    """What was asked for on the command line."""

    out: Path
    pipeline: str | None
    rules: RuleSet
    settings: EngineSettings
    models: tuple[Path, ...]
    lenient: bool


@dataclass(frozen=True)
class _Plan:
    """What is done with a study: its jobs, or why there are none."""

    study_instance_uid: str
    jobs: tuple[JobDescription, ...] = ()
    reasons: tuple[str, ...] = ()
    lost: tuple[UnusableImage, ...] = ()


def _contents(folder: Path, scratch: Path) -> FolderContents:
    with _progress() as progress:
        task = progress.add_task("Reading headers", total=1.0)
        return read_folder(folder, lambda share: progress.update(task, completed=share), scratch=scratch)


def _plan(study: FolderStudy, contents: FolderContents, wanted: _Wanted) -> _Plan:
    uid = study.facts.study_instance_uid
    match route(study.facts, wanted.rules):
        case Unmatched(reasons=reasons):
            return _Plan(uid, reasons=tuple(reasons), lost=study.lost)
        case routes:
            taken = [found for found in plan_jobs(routes) if wanted.pipeline in {None, found.pipeline}]
    if not taken:
        raise WrongUsage(reason=f"no rule sends this study to {wanted.pipeline}; see: scanward rules explain DIR")
    nested = len(contents.studies) > 1 or len(taken) > 1
    return _Plan(uid, tuple(_job(found, study, wanted, nested=nested) for found in taken))


def _job(found: PlannedJob, study: FolderStudy, wanted: _Wanted, *, nested: bool) -> JobDescription:
    definition = pipeline_named(found.pipeline)
    packages = packages_for(definition, wanted.models)
    inputs = {role: study.files[uid] for role, uid in found.roles.items()}
    target = wanted.out / study.facts.study_instance_uid / found.pipeline if nested else wanted.out
    return JobDescription(
        job_id=f"process-{found.pipeline}",
        pipeline=found.pipeline,
        inputs={role: tuple(str(path) for path in paths) for role, paths in inputs.items()},
        inputs_digest=digest_of(inputs),
        model_digest=model_digest(definition, packages),
        models={slot: EngineChoice(str(package.folder), wanted.settings) for slot, package in packages.items()},
        output=str(target),
        created=datetime.now(UTC),
        notes=notes_on_series(study.facts, definition, found.roles),
        series={role: JobSeries(uid, _description(study, uid)) for role, uid in found.roles.items()},
        study_images=sum(series.images for series in study.facts.series),
        lost=study.lost,
        lenient=wanted.lenient,
    )


def _description(study: FolderStudy, uid: str) -> str:
    series = next(one for one in study.facts.series if one.series_instance_uid == uid)
    return str(series.tags.get("SeriesDescription") or "")


def _run_all(jobs: list[JobDescription], *, show: bool) -> list[Outcome]:
    outcomes = []
    with JobRunner() as runner:
        for job in jobs:
            outcome = _run(runner, job)
            outcomes.append(outcome)
            if show:
                _show(job, outcome)
    return outcomes


def _run(runner: JobRunner, job: JobDescription) -> Outcome:
    with _progress() as progress:
        task = progress.add_task(f"{job.pipeline}: starting", total=1.0)

        def report(step: str, share: float) -> None:
            progress.update(task, description=f"{job.pipeline}: {step}", completed=share)

        outcome = runner.run(job, report)
        progress.update(task, description=f"{job.pipeline}: done", completed=1.0)
    return outcome


def _show(job: JobDescription, outcome: Outcome) -> None:
    if outcome.refused:
        console.print(Text("Refused: ", style="bold red") + Text(outcome.refused))
        return
    console.print(findings_table(outcome, title=pipeline_named(job.pipeline).title))
    console.print(files_table(outcome, Path(job.output)))
    console.print(f"In {job.output}")


def _print_unmatched(plans: list[_Plan]) -> None:
    for plan in plans:
        if plan.jobs:
            continue
        console.print(f"No pipeline for study {plan.study_instance_uid}:", style="yellow")
        for reason in plan.reasons:
            console.print(f"  {reason}", highlight=False)
        if plan.lost:
            console.print(f"  {mention_lost(plan.lost).strip()}", highlight=False)


def _plain(
    contents: FolderContents, plans: list[_Plan], jobs: list[JobDescription], outcomes: list[Outcome]
) -> dict[str, Any]:
    """What the tables say, and no more: no patient's name, and no file's but those that were written."""
    study = {job.output: plan.study_instance_uid for plan in plans for job in plan.jobs}
    return {
        "jobs": [
            {"study_instance_uid": study[job.output], "pipeline": job.pipeline, "out": job.output, **asdict(outcome)}
            for job, outcome in zip(jobs, outcomes, strict=True)
        ],
        "unmatched": [asdict(plan) for plan in plans if not plan.jobs],
        "unusable": dict(contents.unusable),
        "copies": contents.copies,
    }


def _progress() -> Progress:
    """On standard error: what is printed on standard output is the answer."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=notes, transient=False)
