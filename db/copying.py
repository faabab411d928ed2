"""All of one database into another, empty one: every table, in one transaction, counted and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, text, update

from db.connection import Transactions
from db.errors import CopyDiffers, DatabaseInUse, DatabaseNotEmpty
from db.tables import METADATA

AT_ONCE = 1000
_SEQUENCE = text(
    "SELECT last_value FROM pg_sequences"
    " WHERE format('%I.%I', schemaname, sequencename) = pg_get_serial_sequence(:name, 'id')"
)
_DAEMONS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'scanward' AND pid <> pg_backend_pid()"
)
Row = dict[str, Any]


@dataclass(frozen=True)
class CopiedTable:
    """A table that was copied, and how many rows it has."""

    name: str
    rows: int


def copy(old: Transactions, new: Transactions, told: Callable[[CopiedTable], None] = lambda table: None) -> None:
    """Copies every row of `old`, at one moment of it, into `new`; all of them or none.

    Both databases are asked again when all is written: number of rows and digest of their values, table by table.

    Args:
        old: At this version's revision; nobody else works on it.
        new: At this version's revision, and empty.
        told: Called for each table.

    Raises:
        DatabaseInUse: A daemon works on `old`.
        DatabaseNotEmpty: There are rows in `new`.
        CopyDiffers: What was written reads otherwise; nothing was kept.
        OutdatedSchema, NewerSchema, DatabaseUnavailable.
    """
    with old.moment() as source, new.write() as session:
        if _others(source):
            raise DatabaseInUse(url=old.url)
        target = session.connection()
        for table in METADATA.sorted_tables:
            if target.scalar(select(func.count()).select_from(table)):
                raise DatabaseNotEmpty(url=new.url, table=table.name)
        for table in METADATA.sorted_tables:
            _copy_table(source, target, table)
        for table in METADATA.sorted_tables:
            told(_compare(source, target, table))


def _copy_table(source: Connection, target: Connection, table: Table) -> None:
    """Rows first without what refers to the same table, as a row may refer to a later one."""
    inner = [key.parent.name for key in table.foreign_keys if key.column.table is table]
    references: list[Row] = []
    for rows in _rows(source, table):
        target.execute(insert(table), [row | dict.fromkeys(inner) for row in rows])
        references += [row for row in rows if any(row[name] is not None for name in inner)]
    for row in references:
        values = {name: row[name] for name in inner}
        target.execute(update(table).where(table.c.id == row["id"]).values(values))
    if table.autoincrement_column is not None:
        _copy_counter(source, target, table)


def _rows(connection: Connection, table: Table) -> Iterator[list[Row]]:
    found = connection.execute(select(table).order_by(*table.primary_key), execution_options={"yield_per": AT_ONCE})
    for piece in found.mappings().partitions(AT_ONCE):
        yield [dict(row) for row in piece]


def _copy_counter(source: Connection, target: Connection, table: Table) -> None:
    """A number that was given once is never given again, not even that of a row that is gone."""
    last = _counter(source, table)
    values = {"name": table.name, "last": last}
    if not last:
        return
    if target.dialect.name == "postgresql":
        target.execute(text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)"), values)
    elif _counts_for_ever(table):
        target.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        target.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), values)


def _counter(connection: Connection, table: Table) -> int:
    """The highest number that a table has given."""
    highest = connection.scalar(select(func.max(table.c.id))) or 0
    given = None
    if connection.dialect.name == "postgresql":
        given = connection.scalar(_SEQUENCE, {"name": table.name})
    elif _counts_for_ever(table):
        given = connection.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
    return max(int(highest), int(given or 0))


def _counts_for_ever(table: Table) -> bool:
    return bool(table.dialect_options["sqlite"]["autoincrement"])


def _compare(source: Connection, target: Connection, table: Table) -> CopiedTable:
    before, after = _fingerprint(source, table), _fingerprint(target, table)
    if before != after:
        raise CopyDiffers(table=table.name, before=before[0], after=after[0])
    return CopiedTable(table.name, before[0])


def _fingerprint(connection: Connection, table: Table) -> tuple[int, int]:
    """Number of rows and a digest of their values that does not depend on their order, which collations decide on."""
    count = digest = 0
    for rows in _rows(connection, table):
        for row in rows:
            count += 1
            digest += int.from_bytes(hashlib.sha256(json.dumps(_plain(row), sort_keys=True).encode()).digest())
    return count, digest % (1 << 256)


def _plain(value: Any) -> Any:
    """A value as JSON; numbers as what they are worth, since PostgreSQL's JSON writes 1e300 out."""
    match value:
        case bool() | None:
            return value
        case int() | float():
            return repr(float(value))
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return str(value)


def _others(connection: Connection) -> bool:
    """Whether other connections of Scanward are open; SQLite cannot tell."""
    if connection.dialect.name != "postgresql":
        return False
    return bool(connection.scalar(_DAEMONS))
