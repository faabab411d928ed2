"""The commands of the `train` extra: mounted by the daemon's command line where that is installed."""

from __future__ import annotations

import typer

from training.commands.packages import evaluate, export, reproduce
from training.commands.trainings import cross_validate, train

app = typer.Typer(no_args_is_help=True, help="Train the networks, measure them, and make model packages of them.")
for command in (train, cross_validate, export, evaluate, reproduce):
    app.command()(command)
