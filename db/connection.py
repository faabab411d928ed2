"""The way to the database: how connections are made, and what a transaction is."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import Session

from db import schema
from db.errors import DatabaseUnavailable, RowRefused, StoreError
from db.faults import code_of, is_away, is_of_the_row
from db.files import DataFolder, data_folder, set_data_folder
from db.location import parse_url, shown, without_secrets

BUSY_TIMEOUT_S = 30
_READ = {"scanward_begin": "BEGIN"}


def make_engine(url: URL, *, foreign_keys: bool = True, **options: Any) -> Engine:
    """An engine for SQLite or PostgreSQL; connects to nothing yet.

    Statements in errors come without their values (`hide_parameters`): those are patients' data.
    """
    if url.drivername.startswith("sqlite"):
        engine = create_engine(url, hide_parameters=True, **options)
        _set_up_sqlite(engine, foreign_keys=foreign_keys)
        return engine
    # A connection that the server has closed (restart, failover) is noticed and replaced before it is used.
    connect = {"connect_timeout": 10, "application_name": "scanward"}
    return create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=connect, **options)


def _set_up_sqlite(engine: Engine, *, foreign_keys: bool) -> None:
    """WAL, so that readers never wait; synchronous=FULL, so that what was committed survives a power failure.

    FULL costs one fsync per transaction (0.1 to 10 ms, by disk). NORMAL would save it and could forget the last moves
    when the power goes: a result that the PACS has accepted would be sent again. Images come in batches of one
    transaction each, so this is never per image.

    The driver's own habit of beginning transactions late is switched off. A transaction that writes takes its lock at
    the beginning (IMMEDIATE): one that reads first and is overtaken before it writes would fail at once, and no busy
    timeout would help it.
    """

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for setting in (
            f"busy_timeout = {BUSY_TIMEOUT_S * 1000}",
            "journal_mode = WAL",
            "synchronous = FULL",
            f"foreign_keys = {'ON' if foreign_keys else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {setting}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("scanward_begin", "BEGIN IMMEDIATE"))


class Transactions:
    """A database that one can read from and write to; safe to use from any number of threads."""

    def __init__(self, url: str, data_dir: Path | None = None) -> None:
        self._url = parse_url(url)
        self._engine = make_engine(self._url)
        if data_dir is not None:
            set_data_folder(self._engine, data_dir)
        self._reading = self._engine.execution_options(**_READ)
        self._checked = False
        # SQLite has one writer at a time. Threads of one process wait here, in turn, rather than in SQLite's busy loop.
        sqlite = self._engine.dialect.name == "sqlite"
        self._turn: contextlib.AbstractContextManager[Any] = threading.Lock() if sqlite else contextlib.nullcontext()

    @property
    def url(self) -> str:
        """Where the database is, without the password."""
        return shown(self._url)

    @property
    def data_folder(self) -> DataFolder | None:
        """Where the files lie that rows name; None if that has not been said."""
        return data_folder(self._engine.dialect)

    @property
    def file(self) -> Path | None:
        """The SQLite file, None for PostgreSQL."""
        return Path(self._url.database or "") if self._url.drivername.startswith("sqlite") else None

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: everything in it happens, or nothing does.

        Raises:
            OutdatedSchema, NewerSchema: The database needs an upgrade, or has had one that this version does not know.
            DatabaseUnavailable: Not reachable, locked for too long, disk full.
        """
        self.check()
        with self._turn, self._translated(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A view of one moment on SQLite, of committed data on PostgreSQL. Raises as `write` does."""
        self.check()
        with self._translated(), Session(self._reading) as session:
            yield session

    @contextlib.contextmanager
    def moment(self) -> Iterator[Connection]:
        """A connection that sees the database as it is at this moment, however long it reads. Raises as `write` does.

        It is one of its own, so that no connection that lies in the pool counts as somebody who works here.
        """
        self.check()
        self.close()
        options = _READ | ({} if self.file else {"isolation_level": "REPEATABLE READ"})
        with self._translated(), self._engine.execution_options(**options).connect() as connection:
            yield connection

    def check(self) -> None:
        """Looks, once, whether the tables are those that this version works with. Raises as `write` does."""
        if self._checked:
            return
        with self._translated():
            schema.check(self.url, self.current())
        self._protect()
        self._checked = True

    def current(self) -> str | None:
        """The schema revision that the database is at; None if it has no tables yet."""
        if self.file is not None and not self.file.exists():
            return None  # looking must not leave an empty file behind
        with self._translated(), self._reading.connect() as connection:
            return schema.current(connection)

    def head(self) -> str:
        """The schema revision that this version works with."""
        return schema.head()

    def upgrade(self) -> None:
        """Brings the tables to `head`, creating what is missing; all of it, or, if anything goes wrong, nothing.

        Raises:
            NewerSchema: A newer version has been here.
            DatabaseUnavailable: Not reachable, locked for too long, disk full.
        """
        if self.file is not None and not self.file.exists():
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite would create it by umask; its -wal and -shm files follow the mode of this one.
            os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))
        with self._turn, self._translated():
            schema.upgrade(self._url, make_engine)
        self.check()

    def close(self) -> None:
        """Closes every connection; the object may be used again afterwards."""
        self._engine.dispose()

    def _protect(self) -> None:
        """Takes the file away from other users if it was created too open, by a copy or by hand."""
        if self.file is None:
            return
        status = self.file.stat()
        if status.st_mode & 0o077 and status.st_uid == os.geteuid():
            self.file.chmod(0o600)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if is_away(error):
                raise DatabaseUnavailable(
                    url=self.url, reason=without_secrets(str(error.orig).strip(), self._url)
                ) from error
            if is_of_the_row(error) and not isinstance(error, IntegrityError):
                raise RowRefused(code=code_of(error)) from error
            raise
        except StatementError as error:
            if isinstance(error.orig, StoreError):  # a value that one of our own column types refuses
                raise error.orig from None
            raise
        except PoolExhausted as error:
            raise DatabaseUnavailable(url=self.url, reason="all connections are in use") from error
