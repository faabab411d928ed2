"""The job database's schema."""

from __future__ import annotations

import typer

from daemon.commands.options import DEFAULT_CONFIG, ConfigOption, console
from daemon.config import load_config
from db.store import Database

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command("upgrade")
def upgrade(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Bring the schema to this version's revision; what is there stays."""
    loaded = load_config(config)
    loaded.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with console.status("Upgrading the job database ..."):
        Database(loaded.database_url).upgrade()
    current(config)


@app.command("current")
def current(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print the revision the database is at, and the one this version needs."""
    loaded = load_config(config)
    database = Database(loaded.database_url)
    found, needed = database.current(), database.head()
    console.print(f"at {found or 'nothing (empty)'}, needs {needed}")
    if found != needed:
        raise typer.Exit(1)
