from __future__ import annotations

from datetime import UTC, datetime

import typer
from rich.text import Text

from daemon.commands.options import DEFAULT_CONFIG, ConfigOption, JsonOption, console, open_database
from daemon.overview import overview_table, read_overview
from daemon.terminal.jobs import plain as as_json_values
from daemon.terminal.tables import moment, plain_table
from daemon.workers.roster import WorkerState
from daemon.workers.status import REFRESH, DaemonStatus, ListenerStatus, PartState, PartStatus, read_status
from db.errors import DatabaseUnavailable

STYLES = {WorkerState.OPENING: "yellow", WorkerState.READY: "green", WorkerState.LEAVING: "red"}

PART_STYLES = {
    PartState.WORKING: "green",
    PartState.BUSY: "yellow",
    PartState.WAITING: "yellow",
    PartState.FAILING: "red",
    PartState.ENDED: "bold red",
}


def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show whether the daemon runs, the state of its workers, what waits or needs a person, and what was delivered."""
    loaded, database = open_database(config)
    daemon, now = read_status(loaded.status_file), datetime.now(UTC)
    runs = daemon is not None and daemon.looked is not None
    late = _seconds(now, daemon.looked) if daemon is not None and daemon.looked else 0.0
    unavailable, overview = "", None
    try:
        overview = read_overview(loaded, database)
    except DatabaseUnavailable as error:
        unavailable = str(error)
    if as_json:
        plain = daemon.model_dump(mode="json") if daemon else {}
        rest = as_json_values(overview) if overview else {}
        console.print_as_json({**plain, "running": runs and late <= 3 * REFRESH, **rest, "database": unavailable})
    else:
        _print(daemon, now, late)
        console.print(
            overview_table(overview, loaded.destinations) if overview else Text(unavailable, style="bold red")
        )
    if not runs or late > 3 * REFRESH or unavailable:
        raise typer.Exit(1)


def _print(daemon: DaemonStatus | None, now: datetime, late: float) -> None:
    if daemon is None:
        console.print("The daemon is not running with this data folder.", style="bold red")
        return
    if late > 3 * REFRESH:
        console.print(f"The daemon was killed or hangs: it has not reported for {_span(late)}.", style="bold red")
    table = plain_table("Worker", "State", ">For", ">Job")
    for one in daemon.workers:
        state = Text(one.state, style=STYLES[one.state])
        table.add_row(one.address, state, _span(_seconds(now, one.since)), one.job or "")
    for _ in range(daemon.wanted - len(daemon.workers)):
        table.add_row("", Text("starting", style="yellow"), "", "")
    console.print(table)
    if daemon.listener is not None:
        _print_listener(daemon.listener)
    _print_parts(daemon.parts, now)
    for gone in daemon.replaced:
        console.print(f"{moment(gone.when)}: {gone.worker} was replaced: {gone.reason}", style="yellow")
    if daemon.rules_rejected:
        console.print("The changed rule file is invalid; the previous rules stay in force:", style="bold red")
    for problem in daemon.rules_rejected:
        console.print(f"  {problem}", style="red", soft_wrap=True)


def _print_listener(listener: ListenerStatus) -> None:
    table = plain_table("Listener process", "State", ">Connections")
    for one in listener.processes:
        state = Text("ready", style="green") if one.ready else Text("starting", style="yellow")
        if one.trouble:
            state = Text(f"cannot store images: {one.trouble}" if one.ready else one.trouble, style="red")
        table.add_row(str(one.pid or ""), state, str(one.connections))
    console.print(table)
    if not listener.watched:
        console.print("Listener processes that die are no longer replaced: restart the daemon.", style="bold red")


def _print_parts(parts: tuple[PartStatus, ...], now: datetime) -> None:
    """Only the parts that do not simply work."""
    table = plain_table("Part", "State", ">For", "Reason")
    for one in parts:
        if one.state is not PartState.WORKING or one.reason:
            state = Text(one.state, style=PART_STYLES[one.state])
            table.add_row(one.name, state, _span(_seconds(now, one.since)), one.reason)
    if table.row_count:
        console.print(table)


def _seconds(now: datetime, then: datetime) -> float:
    return max(0.0, (now - then).total_seconds())


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
