"""Options and steps that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daemon.config import Config, load_config
from daemon.terminal.text import Terminal
from db.database import Database

ConfigOption = Annotated[
    Path, typer.Option("-c", "--config", help="Configuration file.", envvar="SCANWARD_CONFIG", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

DEFAULT_CONFIG = Path("scanward.yaml")

console = Terminal()
notes = Terminal(stderr=True)
"""For what is said beside an answer, so that `--json` prints JSON only."""


def open_database(path: Path) -> tuple[Config, Database]:
    """The configuration and its database, which must be at the current revision."""
    config = load_config(path)
    return config, Database(config.database_url, config.data_dir)
