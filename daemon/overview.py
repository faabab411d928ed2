"""The state of the work: jobs and studies by state, what needs a person and why, and each destination."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from daemon.terminal.tables import moment, plain_table
from db.records import DestinationRow
from db.states import JobState, StudyState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from daemon.config import Config
    from db.database import Database

JOBS = (JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING, JobState.FAILED, JobState.REFUSED)
STUDIES = (StudyState.RECEIVING, StudyState.COMPLETE, StudyState.UNMATCHED)
FOR_A_PERSON = (JobState.FAILED, JobState.REFUSED, StudyState.UNMATCHED)


@dataclass(frozen=True)
class Overview:
    """The state of the work at one moment.

    Attributes:
        jobs: State -> number.
        studies: State -> number, of studies that have no job.
        reasons: State -> code of a reason -> number, of what needs a person.
        lost: Received and not usable: images `of_studies` that are known, and files `of_none`.
        quarantined: Files in the spool's quarantine.
        destinations: Those that are configured or that something was sent to.
    """

    jobs: Mapping[str, int]
    studies: Mapping[str, int]
    reasons: Mapping[str, Mapping[str, int]]
    lost: Mapping[str, int]
    quarantined: int
    destinations: tuple[DestinationRow, ...]


def read_overview(config: Config, database: Database) -> Overview:
    """Queries the database, and counts the files in quarantine."""
    counts = database.counts()
    of_studies, of_none = database.studies.count_lost()
    return Overview(
        jobs={str(state): counts.jobs[state] for state in JOBS},
        studies={str(state): counts.studies[state] for state in STUDIES},
        reasons={str(state): codes for state, codes in database.reasons().items()},
        lost={"of_studies": of_studies, "of_none": of_none},
        quarantined=_files(config.spool_dir / "quarantine"),
        destinations=_destinations(config, database),
    )


def _files(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(not entry.name.endswith(".reason.json") for entry in entries)
    except FileNotFoundError:
        return 0


def _destinations(config: Config, database: Database) -> tuple[DestinationRow, ...]:
    known = {row.name: row for row in database.deliveries.destinations()}
    for name in config.destinations:
        known.setdefault(name, DestinationRow(name=name, waiting=0, failed=0, last_accepted_at=None))
    return tuple(known[name] for name in sorted(known))


def overview_table(overview: Overview, configured: Mapping[str, object]) -> RenderableType:
    """For a terminal; marks destinations that are not configured any more."""
    counted = {"Jobs": overview.jobs, "Studies": overview.studies}
    parts: list[RenderableType] = [
        Text(f"{what}: " + ", ".join(f"{number} {state}" for state, number in states.items()))
        for what, states in counted.items()
    ]
    for state in FOR_A_PERSON:
        if codes := overview.reasons.get(state):
            told = ", ".join(f"{number} {code or 'no code'}" for code, number in sorted(codes.items()))
            parts.append(Text(f"  {state}: {told}", style="yellow"))
    if any(overview.lost.values()):
        of_studies, of_none = overview.lost["of_studies"], overview.lost["of_none"]
        told = f"Lost images: {of_studies} belong to known studies, {of_none} files to none"
        parts.append(Text(f"{told}; see quarantine", style="yellow"))
    style = "yellow" if overview.quarantined else ""
    parts.append(Text(f"Quarantined: {overview.quarantined} files", style=style))
    if overview.destinations:
        parts.append(_destination_table(overview.destinations, configured))
    return Group(*parts)


def _destination_table(rows: tuple[DestinationRow, ...], configured: Mapping[str, object]) -> RenderableType:
    table = plain_table("Destination", ">Waiting", ">Failed", "Last success", "Last error")
    for row in rows:
        name = row.name if row.name in configured else f"{row.name} (not configured)"
        error = f"{row.reason_code or 'no code'}: {row.last_error}" if row.last_error else ""
        table.add_row(name, str(row.waiting), str(row.failed), moment(row.last_accepted_at) or "never", error)
    return table
