"""Which tables a database has, and how it gets those that this version needs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, NullPool, inspect, text
from sqlalchemy.engine import URL

from db.errors import NewerSchema, OutdatedSchema

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"
_REVISION = re.compile(r"^(revision|down_revision)\b[^=]*=\s*[\"']([^\"']+)[\"']", re.MULTILINE)
_ONE_AT_A_TIME = threading.Lock()  # alembic keeps the migration that is going on in a module


def config() -> Config:
    """Alembic's configuration, which a user never sees: the migrations lie beside this file."""
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    return settings


@cache
def head() -> str:
    """The revision that this version works with."""
    revisions = _revisions()
    (last,) = revisions.keys() - set(revisions.values())
    return last


def current(connection: Connection) -> str | None:
    """The revision that a database is at, None if it has no tables yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def check(url: str, revision: str | None) -> None:
    """Raises OutdatedSchema or NewerSchema unless the revision is the one that this version works with."""
    if revision == head():
        return
    if revision is not None and revision not in _revisions():
        raise NewerSchema(url=url, current=revision, head=head())
    raise OutdatedSchema(url=url, current=revision, head=head())


@cache
def _revisions() -> Mapping[str, str | None]:
    """Every revision and the one before it, as the files of the migrations say.

    Read as text: importing alembic takes longer than everything else that a command such as `jobs list` does.
    """
    found = {}
    for file in sorted((_MIGRATIONS / "versions").glob("[0-9]*.py")):
        said = dict(_REVISION.findall(file.read_text(encoding="utf-8")))
        found[said["revision"]] = said.get("down_revision")
    return found


def upgrade(url: URL, make_engine: Callable[..., Engine]) -> None:
    """Runs the migrations that are missing, in one transaction.

    On SQLite most changes of a table mean a new table with the old name, so foreign keys are off while it happens (they
    would take the referring rows along); `env.py` checks them before it commits.

    Raises:
        NewerSchema: A newer version has been here.
    """
    from alembic import command

    engine = make_engine(url, foreign_keys=False, poolclass=NullPool)
    with _ONE_AT_A_TIME, engine.connect() as connection:
        revision = current(connection)
        connection.rollback()
        if revision is not None and revision not in _revisions():
            raise NewerSchema(url=url.render_as_string(hide_password=True), current=revision, head=head())
        settings = config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, "head")
