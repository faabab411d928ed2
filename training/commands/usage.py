"""What the commands on trainings and on packages share: where they print, the data, and how usage errors are said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.experiment import Experiment
from training.experiments import EXPERIMENTS

console = Console()

Data = Annotated[Path, typer.Option("--data", exists=True, file_okay=False, help="The data set, as published.")]


def named(name: str) -> Experiment:
    """The experiment, or a usage error that lists what there is."""
    if name not in EXPERIMENTS:
        raise typer.BadParameter(f"expected one of {', '.join(EXPERIMENTS)}, received {name!r}")
    return EXPERIMENTS[name]


@contextmanager
def usage_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds are about what was asked, and are said without a traceback."""
    try:
        yield
    except kinds as error:
        raise typer.BadParameter(str(error)) from error


def refuse(options: Mapping[str, object], why: str) -> None:
    """What has no effect is not passed over in silence."""
    given = [option for option, value in options.items() if value not in (None, False)]
    if given:
        raise typer.BadParameter(f"{', '.join(given)}: {why}")
