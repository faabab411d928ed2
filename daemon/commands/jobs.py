"""What is there, what is stuck and why, and what to do about it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from daemon.commands.options import DEFAULT_CONFIG, ConfigOption, JsonOption, console, open_database
from daemon.config import parse_duration
from daemon.errors import WrongUsage
from daemon.render import plain_table, rows_table, styled_state
from db.records import JobFilter
from db.states import JobState, StudyState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from db.records import Conflict, JobDetail, JobSummary
    from db.store import Database

app = typer.Typer(no_args_is_help=True, help=__doc__)


class Use(StrEnum):
    """Which of two contents of one image to use."""

    FIRST = "first"
    LAST = "last"


BY_HAND = "asked for on the command line"
STATES = sorted({*JobState, StudyState.RECEIVING, StudyState.UNMATCHED})


@app.command("list")
def list_jobs(
    config: ConfigOption = DEFAULT_CONFIG,
    state: Annotated[list[str] | None, typer.Option(help=f"Repeat: {', '.join(STATES)}.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only this pipeline.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only this rule.")] = None,
    study: Annotated[str | None, typer.Option(help="Study Instance UID.")] = None,
    patient_id: Annotated[str | None, typer.Option(help="Patient ID.")] = None,
    accession: Annotated[str | None, typer.Option(help="Accession number.")] = None,
    since: Annotated[str | None, typer.Option(help="Changed within: 2h, 7d.")] = None,
    stuck: Annotated[
        bool, typer.Option("--stuck", help="Only what needs a person, or has not moved for 10 minutes.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1)] = 100,
    as_json: JsonOption = False,
) -> None:
    """List jobs, and studies that have none (still receiving, or matched by no rule)."""
    strangers = set(state or ()) - set(STATES)
    if strangers:
        raise WrongUsage(f"there is no state {', '.join(sorted(strangers))}; there are: {', '.join(STATES)}")
    now = datetime.now(UTC)
    wanted = JobFilter(
        states=frozenset(state or ()),
        pipeline=pipeline,
        rule=rule,
        study_uid=study,
        patient_id=patient_id,
        accession_number=accession,
        since=now - _duration(since) if since else None,
        stuck_before=now - timedelta(minutes=10) if stuck else None,
        limit=limit,
    )
    _, database = open_database(config)
    rows = database.list_jobs(wanted)
    if as_json:
        console.print_as_json([plain(row) for row in rows])
    elif not rows:
        console.print("Nothing to show.")
    else:
        console.print(jobs_table(rows))


def _duration(text: str) -> timedelta:
    try:
        value = parse_duration(text)
    except ValueError as error:
        raise WrongUsage(f"--since: {error}") from error
    if not isinstance(value, timedelta):
        raise WrongUsage(f"--since: {text!r} is not a duration")
    return value


def jobs_table(rows: tuple[JobSummary, ...] | list[JobSummary]) -> RenderableType:
    """One line per job or study without one."""
    table = plain_table(
        "Job", "State", "Pipeline", ">Images", "Patient ID, accession", "Changed", "Found, or why it waits"
    )
    for column in ("State", "Pipeline", "Changed"):
        next(one for one in table.columns if one.header == column).no_wrap = True
    today = datetime.now().astimezone().date()
    for row in rows:
        sent = ", ".join(f"{count} {state}" for state, count in row.deliveries.items() if state != "accepted")
        conflicts = f"{row.conflicts} conflicting images" if row.conflicts else ""
        told = "; ".join(
            text
            for text in (row.summary, row.why, f"deliveries: {sent}" if sent else "", conflicts, row.study.became)
            if text
        )
        changed = row.updated_at.astimezone()
        table.add_row(
            "" if row.job_id is None else str(row.job_id),
            styled_state(str(row.state)),
            row.pipeline,
            str(row.study.images),
            "\n".join(part for part in (row.study.patient_id, row.study.accession_number) if part),
            f"{changed:%H:%M:%S}" if changed.date() == today else f"{changed:%m-%d %H:%M}",
            Text(told),
        )
    return table


@app.command("show")
def show(job_id: int, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Everything about one job: its way, results, figures, deliveries, and who sent the images."""
    _, database = open_database(config)
    detail = database.show_job(job_id)
    if as_json:
        console.print_as_json(plain(detail))
    else:
        console.print(_detail(detail))


def _detail(detail: JobDetail) -> RenderableType:
    job = detail.job
    head = Text.assemble(
        f"Job {job.id}  ",
        styled_state(str(job.state)),
        f"  {job.pipeline} by rule {job.rule}, priority {job.priority}\n",
        f"Study {job.study_uid}\n",
        f"Patient ID {detail.study.patient_id}  Accession {detail.study.accession_number}  ",
        f"{detail.study.images} images\n",
        f"Since then: {detail.study.became}\n" if detail.study.became else "",
        f"Found: {job.summary}\n" if job.summary else "",
        f"Why: {job.reason}\n" if job.reason else "",
        *(f"Note: {note}\n" for note in job.notes),
        *(
            f"Model {name} {digest[:12]} on {job.engines.get(name, 'no engine yet')}\n"
            for name, digest in job.models.items()
        ),
        "Time: " + ", ".join(f"{step} {seconds:.2f} s" for step, seconds in job.timings.items()) if job.timings else "",
    )
    events = [
        {"at": f"{event.at.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3], "event": event.event, "why": event.because}
        for event in detail.events
    ]
    parts: list[RenderableType] = [
        head,
        rows_table(events, {"at": "When", "event": "Move", "why": "Why"}, state_column=""),
    ]
    if detail.measurements:
        figures = [
            {"of": m.subject or "Study", "what": m.quantity, "value": m.text or f"{m.value:.2f} {m.unit}"}
            for m in detail.measurements
        ]
        parts.append(rows_table(figures, {"of": "Of", "what": "What", "value": "Value"}))
    if detail.deliveries:
        parts.append(
            rows_table(
                [plain(d) for d in detail.deliveries],
                {
                    "result": "Result",
                    "destination": "To",
                    "state": "State",
                    "attempts": "Tries",
                    "last_error": "Last error",
                },
            )
        )
    if detail.associations:
        parts.append(
            rows_table(
                [plain(a) for a in detail.associations],
                {
                    "calling_ae": "From",
                    "peer_host": "Host",
                    "opened_at": "Opened",
                    "closed_at": "Closed",
                    "how": "Ended",
                    "files": "Files",
                },
            )
        )
    return Group(*parts)


@app.command("retry")
def retry(
    what: Annotated[
        list[str], typer.Argument(help="Job numbers, or Study Instance UIDs to put before the rules again.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Put failed or refused jobs back in the queue; where only the sending failed, only that is done again."""
    _, database = open_database(config)
    for name in what:
        if name.isdecimal():
            console.print(f"job {name}: {database.retry_job(int(name), BY_HAND)}")
        else:
            database.reroute_study(name, BY_HAND)
            console.print(f"study {name}: will be put before the rules again")


@app.command("cancel")
def cancel(job_ids: list[int], config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Cancel jobs that have not ended; a running one is stopped."""
    _, database = open_database(config)
    for job_id in job_ids:
        database.cancel_job(job_id, BY_HAND)
        console.print(f"job {job_id}: cancelled")


@app.command("conflicts")
def conflicts(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
    use: Annotated[Use | None, typer.Option(help="Decide: use the first or the last of each image.")] = None,
    study: Annotated[str | None, typer.Option(help="Decide only for this Study Instance UID.")] = None,
) -> None:
    """Images that came twice under one UID with different content; both are kept, the first one is used.

    With --use it is decided which one is used from now on; studies whose images change are put before the rules again.
    """
    _, database = open_database(config)
    if use is not None:
        _decide(database, use, study)
        return
    rows = database.recent_conflicts()
    if as_json:
        console.print_as_json([plain(row) for row in rows])
    elif rows:
        columns = {"study": "Study", "images": "Images", "source_ae": "From", "received_at": "Last received"}
        console.print(rows_table(_by_study(rows), columns, state_column=""))
        console.print("To decide: scanward jobs conflicts --use first|last --study UID; --json names the files.")
    else:
        console.print("No conflicts.")


def _by_study(rows: list[Conflict]) -> list[dict[str, Any]]:
    """One line per study, latest first, of images that come latest first."""
    lines: dict[str, dict[str, Any]] = {}
    for row in rows:
        received = f"{row.received_at.astimezone():%Y-%m-%d %H:%M:%S}"
        first = {"study": row.study_uid, "images": 0, "source_ae": row.source_ae, "received_at": received}
        lines.setdefault(row.study_uid, first)["images"] += 1
    return list(lines.values())


def _decide(database: Database, use: Use, study: str | None) -> None:
    decided = database.resolve_conflicts(use.value, study)
    for uid, images in decided.items():
        console.print(f"study {uid}: the {use.value} of {images} images", markup=False, soft_wrap=True)
    if not decided:
        console.print("No conflicts.")


def plain(value: Any) -> Any:
    """A record as JSON values: dataclasses to objects, times to ISO 8601, everything else that is no number to text."""
    match value:
        case None | bool() | int() | float():
            return value
        case datetime():
            return value.isoformat()
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | frozenset():
            return [plain(item) for item in value]
        case _ if dataclasses.is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            return str(value)
