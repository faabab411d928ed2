"""Runs migrations over the connection that `db.schema.upgrade` hands in; one transaction for all of them."""

from __future__ import annotations

from typing import Literal

from alembic import context
from sqlalchemy import JSON, BigInteger, Connection

from db.columns import UTC
from db.errors import BrokenMigration
from db.tables import METADATA

LOCK = 0x5CA9  # any number that no other program on the server uses


def in_short(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Our own types by the names that script.py.mako gives them: a migration imports nothing that may change later."""
    match item:
        case UTC():
            return "MOMENT"
        case BigInteger():
            return "NUMBER"
        case JSON():
            return "DOCUMENT"
        case _:
            return False


def run(connection: Connection) -> None:
    """All or nothing: PostgreSQL can roll back a change of a table, and so can SQLite, once its driver lets it."""
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=in_short,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            # Two daemons that start at once: the second waits here, and then finds nothing left to do.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        context.run_migrations()
        if connection.dialect.name == "sqlite":
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            if broken:
                raise BrokenMigration(tables=sorted({row[0] for row in broken}))


run(context.config.attributes["connection"])
