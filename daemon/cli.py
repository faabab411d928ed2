"""The command line. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import entry_points, version
from typing import Annotated

import typer
from rich.text import Text

from daemon.commands.lazy import CommandPath, LazyGroup
from daemon.errors import BadConfiguration, WrongUsage
from daemon.terminal.text import Terminal
from db.errors import UnsupportedDatabase
from pipelines.errors import RulesInvalid, UnknownPipeline
from scanward_errors import ScanwardError

COMMANDS: dict[str, CommandPath] = {
    "serve": ("daemon.commands.serve", "serve"),
    "process": ("daemon.commands.process", "process"),
    "demo": ("daemon.commands.demo", "demo"),
    "phantom": ("daemon.commands.phantom", "phantom"),
    "check": ("daemon.commands.check", "check"),
    "status": ("daemon.commands.status", "status"),
    "rules": ("daemon.commands.rules", "app"),
    "jobs": ("daemon.commands.jobs", "app"),
    "db": ("daemon.commands.database", "app"),
    "models": ("daemon.commands.models", "app"),
}


def _of_training() -> dict[str, CommandPath]:
    """The commands of the extra `train`, where it is installed; the daemon itself never imports it."""
    if importlib.util.find_spec("torch") is None:
        return {}
    return {plugin.name: (plugin.module, plugin.attr) for plugin in entry_points(group="scanward.commands")}


class Commands(LazyGroup):
    """All commands of `scanward`."""

    commands_by_name = COMMANDS | _of_training()


app = typer.Typer(
    name="scanward",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="The daemon between scanners and PACS. [bold]Research software, not a medical device.[/bold]",
)

WRONG_USAGE = (BadConfiguration, WrongUsage, RulesInvalid, UnknownPipeline, UnsupportedDatabase)
"""A person must change a file or the command line: exit code 2."""

SILENT = ("jobs", "db")
"""Commands that log nothing: without structlog they start in three quarters of the time."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"scanward {version('scanward')}")
        raise typer.Exit


@app.callback()
def _top(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    if context.invoked_subcommand not in SILENT:
        from daemon.logs import set_up_logs

        set_up_logs("warning")  # commands print tables; `serve` sets its own level


def main() -> None:
    """Entry point of the `scanward` command."""
    try:
        app()
    except ScanwardError as error:  # its message says all; anything else is our bug and shows its traceback
        Terminal(stderr=True, soft_wrap=True).print(Text("error:", style="bold red"), Text(str(error)))
        sys.exit(2 if isinstance(error, WRONG_USAGE) else 1)


if __name__ == "__main__":
    main()
