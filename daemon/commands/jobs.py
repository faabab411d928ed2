"""List jobs, show one, and retry, cancel or re-send them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.commands.options import DEFAULT_CONFIG, ConfigOption, JsonOption, console, notes, open_database
from daemon.commands.selection import (
    AccessionOption,
    PatientOption,
    PipelineOption,
    ReasonOption,
    RuleOption,
    SinceOption,
    SourceOption,
    StateOption,
    StuckOption,
    StudyOption,
    UntilOption,
    job_filter,
)
from daemon.errors import WrongUsage
from daemon.terminal.jobs import job_detail, jobs_csv, jobs_table, plain
from daemon.terminal.tables import moment, rows_table
from db.errors import BadRequest
from db.states import JobState, StudyState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.database import Database
    from db.records import Conflict, JobSummary

app = typer.Typer(no_args_is_help=True, help=__doc__)


class Use(StrEnum):
    """Which of two contents of one image to use."""

    FIRST = "first"
    LAST = "last"


BY_HAND = "asked for on the command line"
ALL = 1_000_000
WORTH_A_RETRY = frozenset({JobState.FAILED, JobState.REFUSED})


@app.command("list")
def list_jobs(
    config: ConfigOption = DEFAULT_CONFIG,
    state: StateOption = None,
    pipeline: PipelineOption = None,
    rule: RuleOption = None,
    study: StudyOption = None,
    patient_id: PatientOption = None,
    accession: AccessionOption = None,
    source_ae: SourceOption = None,
    reason: ReasonOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    stuck: StuckOption = False,
    limit: Annotated[int, typer.Option(min=1)] = 100,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
) -> None:
    """List jobs, and studies that have none (still receiving, or matched by no rule)."""
    exact = {"pipeline": pipeline, "rule": rule, "study_uid": study, "patient_id": patient_id}
    exact |= {"accession_number": accession, "source_ae": source_ae, "reason_code": reason}
    wanted = job_filter(exact, state=state, since=since, until=until, stuck=stuck, limit=limit)
    _, database = open_database(config)
    rows = database.jobs.find(wanted)
    if as_json:
        console.print_as_json([plain(row) for row in rows])
    elif as_csv:
        console.file.write(jobs_csv(rows))
    elif not rows:
        console.print("No job matches.")
    else:
        console.print(jobs_table(rows))


@app.command("show")
def show(job_id: int, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show one job: its history, results, measurements, deliveries, and who sent the images."""
    _, database = open_database(config)
    detail = database.jobs.show(job_id)
    if as_json:
        console.print_as_json(plain(detail))
    else:
        console.print(job_detail(detail))


@app.command("retry")
def retry(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Job numbers, or UIDs of studies to route again; or options instead."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    state: Annotated[list[str] | None, typer.Option(help="failed, refused (both by default) or unmatched.")] = None,
    pipeline: PipelineOption = None,
    rule: RuleOption = None,
    source_ae: SourceOption = None,
    reason: ReasonOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
) -> None:
    """Put failed or refused jobs back in the queue; where only the delivery failed, only that is repeated.

    With options instead of numbers: all jobs that match them, or with --state unmatched all studies.
    """
    exact = {"pipeline": pipeline, "rule": rule, "source_ae": source_ae, "reason_code": reason}
    by_options = bool(state or since or until or any(exact.values()))
    if bool(what) == by_options:
        raise WrongUsage(
            reason="name jobs or studies, or select jobs with options: --state failed, --reason CODE, --since 2h"
        )
    if unknown := set(state or ()) - {*WORTH_A_RETRY, StudyState.UNMATCHED}:
        raise WrongUsage(
            reason=f"state {', '.join(sorted(unknown))} cannot be retried; failed, refused and unmatched can"
        )
    _, database = open_database(config)
    if what:
        for name in what:
            _retry(database, name)
        return
    wanted = job_filter(exact, state=state or sorted(WORTH_A_RETRY), since=since, until=until, limit=ALL)
    _retry_all(database, database.jobs.find(wanted))


def _retry(database: Database, name: str) -> None:
    if name.isdecimal():
        console.print(f"job {name}: {database.jobs.retry(int(name), BY_HAND)}")
    else:
        database.studies.reroute(name, BY_HAND)
        console.print(f"study {name}: will be routed again")


def _retry_all(database: Database, rows: Sequence[JobSummary]) -> None:
    """One whose state has changed meanwhile does not stop the others."""
    done = 0
    for row in rows:
        try:
            _retry(database, str(row.job_id or row.study.study_instance_uid))
            done += 1
        except BadRequest as error:
            notes.print(str(error), style="yellow")
    console.print(f"Retried {done} of {len(rows)}.")


@app.command("resend")
def resend(
    job_ids: list[int],
    config: ConfigOption = DEFAULT_CONFIG,
    destination: Annotated[str | None, typer.Option(help="Only to this one; by default to all that had it.")] = None,
) -> None:
    """Send the results of jobs again that were accepted, for a PACS that has lost them."""
    _, database = open_database(config)
    for job_id in job_ids:
        number = database.jobs.resend(job_id, BY_HAND, destination=destination)
        console.print(f"job {job_id}: {number} results will be sent again")


@app.command("cancel")
def cancel(job_ids: list[int], config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Cancel jobs that have not ended; a running one is stopped."""
    _, database = open_database(config)
    for job_id in job_ids:
        state = database.jobs.cancel(job_id, BY_HAND)
        console.print(
            f"job {job_id}: {state}" + ("; what was not sent yet is dropped" if state is JobState.DONE else "")
        )


@app.command("drop")
def drop(
    job_id: int,
    destination: Annotated[str, typer.Option(help="Its name, as in the configuration.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Send nothing more of a job to one destination; deliveries to the others go on."""
    _, database = open_database(config)
    state = database.deliveries.drop_destination(job_id, destination, BY_HAND)
    console.print(f"job {job_id}: {state}; nothing more of it is sent to {destination}")


@app.command("conflicts")
def conflicts(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
    use: Annotated[Use | None, typer.Option(help="Decide: use the first or the last of each image.")] = None,
    study: Annotated[str | None, typer.Option(help="Decide only for this Study Instance UID.")] = None,
) -> None:
    """List images that came twice under one UID with different content; both are kept, the first one is used.

    With --use, decide which one is used from now on; studies whose images change are routed again.
    """
    _, database = open_database(config)
    if use is not None:
        _decide(database, use, study)
        return
    rows = database.studies.conflicts()
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
        first = {"study": row.study_uid, "images": 0, "source_ae": row.source_ae}
        first["received_at"] = moment(row.received_at)
        lines.setdefault(row.study_uid, first)["images"] += 1
    return list(lines.values())


def _decide(database: Database, use: Use, study: str | None) -> None:
    decided = database.studies.resolve_conflicts(use.value, study)
    for uid, images in decided.items():
        console.print(
            f"study {uid}: the {use.value} version of {images} images is used now", markup=False, soft_wrap=True
        )
    if not decided:
        console.print("No conflicts.")
