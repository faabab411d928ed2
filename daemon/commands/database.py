"""Upgrade or copy the job database, or adopt it for a data folder."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from daemon.commands.options import DEFAULT_CONFIG, ConfigOption, console, open_database
from daemon.config import load_config
from daemon.errors import NotRunnable
from db.database import Database

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command("upgrade")
def upgrade(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Upgrade the schema to the revision of this version; all data is kept."""
    loaded = load_config(config)
    loaded.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with console.status("Upgrading the job database ..."):
        Database(loaded.database_url).upgrade()
    current(config)


@app.command("current")
def current(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print the revision of the database, and the one that this version needs."""
    loaded = load_config(config)
    database = Database(loaded.database_url)
    found, needed = database.current(), database.head()
    console.print(f"at {found or 'nothing (empty)'}, needs {needed}")
    if found != needed:
        raise typer.Exit(1)


@app.command("adopt")
def adopt(
    config: ConfigOption = DEFAULT_CONFIG,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make the configured database and data folder belong together, and index every received file without a row."""
    from daemon.installation import SpoolSide, identifier, join, locked, mismatch
    from daemon.intake.reader import SpoolReader
    from dicomio.files.spool.spool import Spool

    loaded, database = open_database(config)
    loaded.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(loaded.data_dir), closing(database):
        if database.file is not None:
            database.upgrade()
        spool = Spool(loaded.spool_dir)
        here, there = SpoolSide.of(spool), database.installation.side()
        why = mismatch(here, there)
        if why is not None and not yes:
            told = "Studies that the database does not know are routed as new ones, and their results are sent again."
            console.print(f"{why[0].upper()}{why[1:]}. {told}", soft_wrap=True)
            typer.confirm("Use this database with this data folder from now on?", abort=True)
        join(loaded, database, spool, identifier(here, there))
        with console.status("Looking for received files without a row ..."):
            indexed = SpoolReader(spool, database).reconcile()
    console.print(f"Database and data folder belong together. {indexed} received files had no row, and have one now.")


@app.command("copy")
def copy_database(
    old: Annotated[str, typer.Argument(help="URL of the database to copy.")],
    new: Annotated[str, typer.Argument(help="URL of an empty database; its tables are made.")],
) -> None:
    """Copy a database into an empty one, SQLite or PostgreSQL, and compare the two. Stop the daemon first."""
    from daemon.installation import locked
    from db.copying import copy

    with closing(Database(old)) as source, closing(Database(new)) as target:
        if source.url == target.url:
            raise NotRunnable(reason="the two are the same database")
        source.check()
        target.upgrade()
        lock = None if source.file is None else source.file.parent
        with locked(lock), console.status("Copying ..."):
            copy(source, target, lambda table: console.print(f"{table.name}: {table.rows} rows, compared"))
        console.print(f"Now set `database` to {target.url}.", soft_wrap=True, markup=False)
