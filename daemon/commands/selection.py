"""Options that select jobs, the same for listing them and for acting on them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from daemon.config.values import parse_duration
from daemon.errors import WrongUsage
from db.records import JobFilter
from db.states import JobState, StudyState

STATES = sorted({*JobState, StudyState.RECEIVING, StudyState.UNMATCHED})
STUCK = timedelta(minutes=10)

StateOption = Annotated[list[str] | None, typer.Option("--state", help=f"Repeat: {', '.join(STATES)}.")]
PipelineOption = Annotated[str | None, typer.Option(help="Only this pipeline.")]
RuleOption = Annotated[str | None, typer.Option(help="Only this rule.")]
StudyOption = Annotated[str | None, typer.Option(help="Study Instance UID.")]
PatientOption = Annotated[str | None, typer.Option(help="Patient ID.")]
AccessionOption = Annotated[str | None, typer.Option(help="Accession number.")]
SourceOption = Annotated[str | None, typer.Option(help="AE title that images came from.")]
ReasonOption = Annotated[str | None, typer.Option(help="Code of a reason, as `scanward status` counts them.")]
SinceOption = Annotated[
    str | None, typer.Option(help="Changed within (2h, 7d), or since a moment (2026-11-20, 2026-11-20T12:00+01:00).")
]
UntilOption = Annotated[str | None, typer.Option(help="Not changed within, or not since; as --since.")]
StuckOption = Annotated[
    bool, typer.Option("--stuck", help="Only what needs a person, or has not moved for 10 minutes.")
]


def job_filter(
    exact: Mapping[str, str | None],
    *,
    state: list[str] | None,
    since: str | None,
    until: str | None,
    stuck: bool = False,
    limit: int = 100,
) -> JobFilter:
    """The filter that the options name; `exact` are the fields of `JobFilter` that must be equal."""
    unknown = set(state or ()) - set(STATES)
    if unknown:
        raise WrongUsage(reason=f"unknown state {', '.join(sorted(unknown))}; valid states: {', '.join(STATES)}")
    now = datetime.now(UTC)
    return JobFilter(
        states=frozenset(state or ()),
        since=moment("--since", since, now) if since else None,
        until=moment("--until", until, now) if until else None,
        stuck_before=now - STUCK if stuck else None,
        limit=limit,
        **exact,
    )


def moment(option: str, text: str, now: datetime) -> datetime:
    """A moment: so long before now, or a date or time; without an offset, in this machine's time zone."""
    try:
        before = parse_duration(text)
    except ValueError:
        before = None
    if isinstance(before, timedelta):
        return now - before
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise WrongUsage(
            reason=f"{option}: {text!r} is neither a duration (2h, 7d) nor a date or time (2026-11-20)"
        ) from None
