from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from daemon.commands.options import DEFAULT_CONFIG, ConfigOption, JsonOption, console, open_database
from daemon.render import plain_table
from daemon.roster import Readiness
from daemon.standing import REFRESH, ListenerStanding, Standing, read_standing
from db.records import JobFilter
from db.states import JobState

if TYPE_CHECKING:
    from db.store import Database

UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.DELIVERING)
STYLES = {Readiness.OPENING: "yellow", Readiness.READY: "green", Readiness.LEAVING: "red"}


def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Say whether the daemon runs, how far its workers are, which were replaced and why, and how many jobs wait."""
    loaded, database = open_database(config)
    standing, now = read_standing(loaded.standing_file), datetime.now(UTC)
    runs = standing is not None and standing.looked is not None
    late = _seconds(now, standing.looked) if standing is not None and standing.looked else 0.0
    waiting = _unfinished(database)
    of_studies, of_none = database.count_lost()
    if as_json:
        plain = standing.model_dump(mode="json") if standing else {}
        console.print_as_json(
            {
                **plain,
                "running": runs and late <= 3 * REFRESH,
                "jobs": waiting,
                "lost": {"of_studies": of_studies, "of_none": of_none},
            }
        )
    else:
        _print(standing, now, late)
        console.print("Jobs: " + ", ".join(f"{count} {state}" for state, count in waiting.items()))
        if of_studies or of_none:
            told = f"Lost images: {of_studies} of studies that are here; {of_none} files that tell no such study"
            console.print(f"{told}, see quarantine", style="yellow")
    if not runs or late > 3 * REFRESH:
        raise typer.Exit(1)


def _print(standing: Standing | None, now: datetime, late: float) -> None:
    if standing is None:
        console.print("The daemon does not run on this data folder.", style="bold red")
        return
    if late > 3 * REFRESH:
        console.print(f"The daemon was killed or hangs: nothing was heard of it for {_span(late)}.", style="bold red")
    table = plain_table("Worker", "State", ">For", ">Job")
    for one in standing.workers:
        state = Text(one.state, style=STYLES[one.state])
        table.add_row(one.address, state, _span(_seconds(now, one.since)), one.job or "")
    for _ in range(standing.wanted - len(standing.workers)):
        table.add_row("", Text("starting", style="yellow"), "", "")
    console.print(table)
    if standing.listener is not None:
        _print_listener(standing.listener)
    for gone in standing.replaced:
        console.print(f"{gone.when:%Y-%m-%d %H:%M:%S} UTC: {gone.worker} was replaced: {gone.reason}", style="yellow")


def _print_listener(listener: ListenerStanding) -> None:
    table = plain_table("Listener process", "State", ">Connections")
    for one in listener.processes:
        state = Text("ready", style="green") if one.ready else Text("starting", style="yellow")
        if one.trouble:
            state = Text(f"cannot store images: {one.trouble}" if one.ready else one.trouble, style="red")
        table.add_row(str(one.pid or ""), state, str(one.connections))
    console.print(table)
    if not listener.watched:
        console.print("Nobody replaces listener processes that die: restart the daemon.", style="bold red")


def _unfinished(database: Database) -> dict[str, int]:
    found = Counter(row.state for row in database.list_jobs(JobFilter(states=frozenset(UNFINISHED), limit=10_000)))
    return {str(state): found[state] for state in UNFINISHED}


def _seconds(now: datetime, then: datetime) -> float:
    return max(0.0, (now - then).total_seconds())


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
