"""Which tables a database has, and how it gets those that this version needs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool
from sqlalchemy.engine import URL

from db.errors import NewerSchema, OutdatedSchema

_ONE_AT_A_TIME = threading.Lock()  # alembic keeps the migration that is going on in a module


def config() -> Config:
    """Alembic's configuration, which a user never sees: the migrations lie beside this file."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    return settings


@cache
def head() -> str:
    """The revision that this version works with."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    return str(revision)


def current(connection: Connection) -> str | None:
    """The revision that a database is at, None if it has no tables yet."""
    return MigrationContext.configure(connection).get_current_revision()


def check(url: str, revision: str | None) -> None:
    """Raises OutdatedSchema or NewerSchema unless the revision is the one that this version works with."""
    if revision == head():
        return
    if revision is not None and revision not in _known():
        raise NewerSchema(url=url, current=revision, head=head())
    raise OutdatedSchema(url=url, current=revision, head=head())


@cache
def _known() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(config()).walk_revisions())


def upgrade(url: URL, make_engine: Callable[..., Engine]) -> None:
    """Runs the migrations that are missing, in one transaction.

    On SQLite most changes of a table mean a new table with the old name, so foreign keys are off while it happens (they
    would take the referring rows along); `env.py` checks them before it commits.

    Raises:
        NewerSchema: A newer version has been here.
    """
    engine = make_engine(url, foreign_keys=False, poolclass=NullPool)
    with _ONE_AT_A_TIME, engine.connect() as connection:
        revision = current(connection)
        connection.rollback()
        if revision is not None and revision not in _known():
            raise NewerSchema(url=url.render_as_string(hide_password=True), current=revision, head=head())
        settings = config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")
