"""The command line. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import entry_points, version
from typing import Annotated

import typer
from rich.console import Console

from daemon.commands import check, database, demo, jobs, models, phantom, process, rules, serve, status
from daemon.errors import BadConfiguration, ScanwardError, WrongUsage
from daemon.logs import set_up_logs
from db.errors import StoreError, UnsupportedDatabase
from dicomio.errors import DicomError
from engines.errors import EngineError
from pipelines.errors import PipelineError, RulesInvalid, UnknownPipeline

app = typer.Typer(
    name="scanward",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="The daemon between scanners and PACS. [bold]Research software, not a medical device.[/bold]",
)
app.command("serve")(serve.serve)
app.command("process")(process.process)
app.command("demo")(demo.demo)
app.command("phantom")(phantom.phantom)
app.command("check")(check.check)
app.command("status")(status.status)
app.add_typer(rules.app, name="rules")
app.add_typer(jobs.app, name="jobs")
app.add_typer(database.app, name="db")
app.add_typer(models.app, name="models")

if importlib.util.find_spec("torch") is not None:  # the extra `train` is installed; the daemon itself never imports it
    for plugin in entry_points(group="scanward.commands"):
        app.registered_commands.extend(plugin.load().registered_commands)

WRONG_USAGE = (BadConfiguration, WrongUsage, RulesInvalid, UnknownPipeline, UnsupportedDatabase)
"""A person must change a file or the command line: exit code 2."""

EXPECTED = (ScanwardError, DicomError, EngineError, PipelineError, StoreError)
"""Errors whose message says all there is to say; anything else is our bug and shows its traceback."""


@app.callback()
def _top(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    set_up_logs("warning")  # commands print tables; `serve` sets its own level
    if show_version:
        typer.echo(f"scanward {version('scanward')}")
        raise typer.Exit


def main() -> None:
    """Entry point of the `scanward` command."""
    try:
        app()
    except EXPECTED as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/bold red] {_escaped(str(error))}")
        sys.exit(2 if isinstance(error, WRONG_USAGE) else 1)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    main()
