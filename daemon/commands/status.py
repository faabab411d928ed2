from __future__ import annotations

from datetime import UTC, datetime

import typer
from rich.text import Text

from daemon.commands.options import DEFAULT_CONFIG, ConfigOption, JsonOption, console, open_database
from daemon.overview import look, shown
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
    """Say whether the daemon runs, how far its workers are, what waits or needs a person, and where results went."""
    loaded, database = open_database(config)
    standing, now = read_status(loaded.status_file), datetime.now(UTC)
    runs = standing is not None and standing.looked is not None
    late = _seconds(now, standing.looked) if standing is not None and standing.looked else 0.0
    away, overview = "", None
    try:
        overview = look(loaded, database)
    except DatabaseUnavailable as error:
        away = str(error)
    if as_json:
        plain = standing.model_dump(mode="json") if standing else {}
        told = as_json_values(overview) if overview else {}
        console.print_as_json({**plain, "running": runs and late <= 3 * REFRESH, **told, "database": away})
    else:
        _print(standing, now, late)
        console.print(shown(overview, loaded.destinations) if overview else Text(away, style="bold red"))
    if not runs or late > 3 * REFRESH or away:
        raise typer.Exit(1)


def _print(standing: DaemonStatus | None, now: datetime, late: float) -> None:
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
    _print_parts(standing.parts, now)
    for gone in standing.replaced:
        console.print(f"{moment(gone.when)}: {gone.worker} was replaced: {gone.reason}", style="yellow")
    if standing.rules_rejected:
        console.print("The rule file is rejected, the rules from before are in force:", style="bold red")
    for problem in standing.rules_rejected:
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
        console.print("Nobody replaces listener processes that die: restart the daemon.", style="bold red")


def _print_parts(parts: tuple[PartStatus, ...], now: datetime) -> None:
    """What works says nothing, unless there is something to know."""
    table = plain_table("Part", "State", ">For", "Why")
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
