"""How jobs are shown: the list, one job in all detail, and the same as CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from daemon.terminal.tables import moment, plain_table, quantity, rows_table, styled_state
from daemon.terminal.text import escaped

if TYPE_CHECKING:
    from rich.console import RenderableType

    from db.records import EventRow, JobDetail, JobSummary, LossRow

CSV_COLUMNS = (
    *("job", "state", "reason_code", "why", "pipeline", "rule", "priority", "patient_id", "accession_number"),
    *("study_instance_uid", "study_date", "images", "senders", "summary", "conflicts", "lost", "attempts", "worker"),
    *("created_at", "started_at", "finished_at", "updated_at"),
)


def jobs_table(rows: Sequence[JobSummary]) -> RenderableType:
    """One line per job or study without one."""
    table = plain_table(
        *("Job", "State", "Pipeline", ">Images", "Study", "From", "Changed"),
        "Result or reason",
    )
    for column in ("State", "Pipeline", "Changed"):
        next(one for one in table.columns if one.header == column).no_wrap = True
    for row in rows:
        study = row.study
        table.add_row(
            "" if row.job_id is None else str(row.job_id),
            styled_state(str(row.state)),
            row.pipeline,
            str(study.images),
            "\n".join(part for part in (study.patient_id, study.accession_number, study.study_instance_uid) if part),
            "\n".join(row.senders),
            moment(row.updated_at).replace(" ", "\n"),
            Text("; ".join(_remarks(row))),
        )
    return table


def _remarks(row: JobSummary) -> Iterator[str]:
    sent = ", ".join(f"{count} {state}" for state, count in row.deliveries.items() if state != "accepted")
    for text in (
        f"{row.lost} received images cannot be used" if row.lost else "",
        row.summary,
        row.why,
        f"deliveries: {sent}" if sent else "",
        f"{row.conflicts} conflicting images" if row.conflicts else "",
        row.study.became,
    ):
        if text:
            yield text


def jobs_csv(rows: Sequence[JobSummary]) -> str:
    """The list as CSV, with a heading; a cell that a spreadsheet would take for a formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        line = {"job": row.job_id, **plain(row.study), **plain(row), "senders": " ".join(row.senders)}
        writer.writerow({key: _without_formula(value) for key, value in line.items()})
    return out.getvalue()


def _without_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return escaped(f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value)


def job_detail(detail: JobDetail) -> RenderableType:
    """Everything about one job."""
    parts: list[RenderableType] = [_head(detail), _moves(detail)]
    if detail.lost:
        parts.append(_lost(detail.lost))
    if detail.measurements:
        parts.append(_figures(detail))
    if detail.deliveries:
        columns = {"result": "Result", "destination": "To", "state": "State", "attempts": "Attempts"}
        columns |= {"next_attempt_at": "Next attempt", "reason_code": "Code", "last_error": "Last error"}
        parts.append(rows_table([_delivery(plain(row)) for row in detail.deliveries], columns))
    if detail.associations:
        columns = {"calling_ae": "From", "peer_host": "Host", "opened_at": "Opened", "closed_at": "Closed"}
        columns |= {"how": "Ended", "files": "Files"}
        rows = [plain(row) | _moments(row, "opened_at", "closed_at") for row in detail.associations]
        parts.append(rows_table(rows, columns))
    return Group(*parts)


def _head(detail: JobDetail) -> Text:
    job, study = detail.job, detail.study
    return Text.assemble(
        f"Job {job.id}  ",
        styled_state(str(job.state)),
        f"  {job.pipeline} by rule {job.rule}, priority {job.priority}\n",
        f"Study {job.study_uid}\n",
        f"Patient ID {study.patient_id}  Accession {study.accession_number}  ",
        f"{study.images} images in {len(detail.series)} series\n",
        f"Read: {_read(job.read)}\n" if job.read else "",
        f"Since then: {study.became}\n" if study.became else "",
        f"Result: {job.summary}\n" if job.summary else "",
        f"Reason: {job.reason} [{job.reason_code or 'no code'}]\n" if job.reason else "",
        *(f"Note: {note}\n" for note in job.notes),
        *(
            f"Model {name} {digest[:12]} on {job.engines.get(name, 'none yet')}\n"
            for name, digest in job.models.items()
        ),
        "Time: " + ", ".join(f"{step} {seconds:.2f} s" for step, seconds in job.timings.items()) if job.timings else "",
    )


def _read(read: Mapping[str, Any]) -> str:
    """How many images of how many, and of which series, by role."""
    parts = [
        f"{one['images']} of {one['came']} images of {role.upper()} ("
        + (f"{one['description']}, " if one["description"] else "")
        + f"series {one['series']})"
        for role, one in read.items()
    ]
    return ", ".join(parts)


def _moves(detail: JobDetail) -> RenderableType:
    names = {row.id: f"{row.result} to {row.destination}" for row in detail.deliveries}
    rows = [_move(event, names) for event in detail.events]
    return rows_table(rows, {"at": "When", "of": "Of", "event": "Change", "why": "Reason"}, state_column="")


def _move(event: EventRow, names: Mapping[int, str]) -> dict[str, str]:
    of = "job" if event.delivery_id is None else names.get(event.delivery_id, f"delivery {event.delivery_id}")
    return {"at": moment(event.at, exact=True), "of": of, "event": event.event, "why": event.because}


def _figures(detail: JobDetail) -> RenderableType:
    rows = [
        {"of": m.subject or "Study", "what": m.quantity, "value": m.text or quantity(m.quantity, m.value, m.unit)}
        for m in detail.measurements
    ]
    return rows_table(rows, {"of": "Of", "what": "Measurement", "value": "Value"})


def _lost(lost: Sequence[LossRow]) -> RenderableType:
    rows = [
        {
            "image": f"{one.number} {one.sop_instance_uid}".strip(),
            "kept": one.file,
            "series": one.series_instance_uid,
            "from": one.source_ae,
            "reason": one.reason,
        }
        | _moments(one, "lost_at")
        for one in lost
    ]
    columns = {"image": "Image", "series": "Series", "from": "From", "lost_at": "When", "reason": "The image ..."}
    columns |= {"kept": "In quarantine"}
    return rows_table(rows, columns)


def _delivery(row: dict[str, Any]) -> dict[str, Any]:
    waits = row["state"] == "pending"
    return row | {"next_attempt_at": moment(datetime.fromisoformat(row["next_attempt_at"])) if waits else ""}


def _moments(row: object, *names: str) -> dict[str, str]:
    return {name: moment(getattr(row, name)) for name in names}


def plain(value: Any) -> Any:
    """A record as JSON values: dataclasses to objects, times to ISO 8601, everything else that is no number to text."""
    match value:
        case None | bool() | int() | float():
            return value
        case datetime():
            return value.astimezone().isoformat()
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | frozenset():
            return [plain(item) for item in value]
        case _ if dataclasses.is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            return str(value)
