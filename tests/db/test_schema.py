from __future__ import annotations

import re
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, NullPool, text

from db.connection import make_engine
from db.database import Database
from db.errors import DatabaseUnavailable, NewerSchema, OutdatedSchema, UnsupportedDatabase
from db.location import parse_url, without_secrets
from db.records import JobFilter
from db.tables import METADATA


@contextmanager
def begun(url: str) -> Iterator[Connection]:
    """A connection past the store, in a transaction."""
    with make_engine(parse_url(url), poolclass=NullPool).begin() as connection:
        yield connection


def test_the_migrations_lead_to_the_tables_that_are_declared(url: str) -> None:
    with begun(url) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    with closing(Database(url)) as database:
        assert database.current() == database.head()


def test_down_to_checks_and_conditions_of_indices_which_alembic_does_not_compare(url: str, empty_url: str) -> None:
    """`compare_metadata` is blind for CHECK constraints; so the databases themselves are asked to spell all out."""
    with begun(empty_url) as connection:
        METADATA.create_all(connection)
        declared = _spelled_out(connection)
    with begun(url) as connection:
        migrated = _spelled_out(connection)
    assert migrated == declared
    assert any("CHECK" in line for line in declared)
    assert any("WHERE" in line for line in declared)


def test_an_empty_database_says_what_to_do(empty_url: str) -> None:
    with closing(Database(empty_url)) as database:
        with pytest.raises(OutdatedSchema, match=r"is empty\), this version needs \d+. Run `scanward db upgrade`"):
            database.jobs.find(JobFilter())
        assert database.current() is None
        database.upgrade()
        database.upgrade()
        assert database.jobs.find(JobFilter()) == []


def test_looking_leaves_no_file_behind(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path}/no/such.sqlite")) as database, pytest.raises(OutdatedSchema):
        database.counts()
    assert list(tmp_path.iterdir()) == []


def test_a_newer_database_is_left_alone(empty_url: str) -> None:
    with closing(Database(empty_url)) as database:
        database.upgrade()
    with begun(empty_url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with closing(Database(empty_url)) as database:
        for use in (database.counts, database.upgrade):
            with pytest.raises(NewerSchema, match=r"9999.*does not know"):
                use()


def test_an_upgrade_that_fails_leaves_nothing(empty_url: str) -> None:
    with begun(empty_url) as connection:
        connection.execute(text("CREATE TABLE job_event (other integer)"))  # the last table that the migration makes
        before = _spelled_out(connection)
    with closing(Database(empty_url)) as database, pytest.raises(Exception, match="already exists"):
        database.upgrade()
    with begun(empty_url) as connection:
        assert _spelled_out(connection) == before


def test_two_daemons_may_upgrade_at_once(empty_url: str) -> None:
    failures: list[BaseException] = []

    def upgrade() -> None:
        try:
            with closing(Database(empty_url)) as database:
                database.upgrade()
                database.counts()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_files_belong_to_nobody_else(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path}/data/scanward.sqlite")) as database:
        database.upgrade()
        with database.write():
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert modes == {"scanward.sqlite": 0o600, "scanward.sqlite-wal": 0o600, "scanward.sqlite-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_file_that_was_copied_too_open_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "scanward.sqlite"
    with closing(Database(f"sqlite:///{file}")) as database:
        database.upgrade()
    file.chmod(0o644)
    with closing(Database(f"sqlite:///{file}")) as database:
        database.counts()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_sqlite_keeps_what_it_has_confirmed(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path}/scanward.sqlite")) as database:
        database.upgrade()
        with database.write() as session:
            asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            assert [session.scalar(text(f"PRAGMA {name}")) for name in asked] == ["wal", 2, 1, 30_000]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite://", "forgets everything"),
        ("sqlite:///:memory:", "forgets everything"),
        ("mysql://u:secret@h/d", "no support for mysql"),
        ("nonsense", "cannot be read"),
        ("postgresql://u:se@cret@h/d", "an @ in user name, password or query is written %40"),
        ("postgresql://u:se@secret/d@h/d", "is written %40"),
        ("postgresql://u:secret@h:secret/d", "cannot be read as a URL"),
        ("postgresql://u@h/d?password=se@secret", "is written %40"),
        ("mysql://u:a@secret@h/d", "no support for mysql"),
        ("mysql://u@h/d?password=secret", "no support for mysql"),
    ],
)
def test_other_databases_are_refused_without_telling_the_password(url: str, reason: str) -> None:
    with pytest.raises(UnsupportedDatabase, match=reason) as caught:
        Database(url)
    assert "secret" not in str(caught.value)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "given", ["password=topsecret", "sslpassword=topsecret", "sslmode=prefer&password=topsecret", "passfile=/topsecret"]
)
def test_a_password_in_the_query_is_shown_nowhere(tmp_path: Path, given: str) -> None:
    database = Database(f"postgresql://u@/d?host={tmp_path}&{given}")
    assert "topsecret" not in database.url
    assert "host=" in database.url
    with closing(database), pytest.raises(DatabaseUnavailable) as caught:
        database.counts()
    assert "topsecret" not in str(caught.value)


def test_what_a_driver_repeats_of_the_url_is_hidden() -> None:
    url = parse_url("postgresql://u:topsecret@h/d?options=alsosecret")
    said = without_secrets('invalid value "alsosecret" beside topsecret for user "u"', url)
    assert said == 'invalid value "***" beside *** for user "u"'


def test_a_server_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    database = Database(f"postgresql://u:secret@/d?host={tmp_path}")
    with closing(database), pytest.raises(DatabaseUnavailable, match="is not available") as caught:
        database.counts()
    assert "secret" not in str(caught.value)


def test_a_full_disk_is_said_so(tmp_path: Path) -> None:
    def fill(database: Database) -> None:
        with database.write() as session:
            session.execute(text(f"PRAGMA max_page_count = {session.scalar(text('PRAGMA page_count'))}"))
            session.execute(text("CREATE TABLE large AS SELECT hex(randomblob(1000000)) AS value"))

    with closing(Database(f"sqlite:///{tmp_path}/scanward.sqlite")) as database:
        database.upgrade()
        with pytest.raises(DatabaseUnavailable, match="database or disk is full"):
            fill(database)


def _spelled_out(connection: Connection) -> set[str]:
    """Every table, column, constraint and index, as the database itself words it."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")).scalars()
        statements = {re.sub(r"\s+", " ", statement).replace('"', "") for statement in found}
        return {part for statement in statements for part in _parts(statement) if "alembic_version" not in part}
    query = """
        SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT conrelid::regclass || conname || pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT table_name || column_name || data_type || is_nullable || coalesce(column_default, '')
            FROM information_schema.columns WHERE table_schema = 'public'
    """
    return {line for line in connection.execute(text(query)).scalars() if "alembic_version" not in line}


def _parts(statement: str) -> set[str]:
    """A CREATE TABLE taken apart, since the order of its constraints means nothing."""
    table, _, body = statement.partition(" (")
    if not table.startswith("CREATE TABLE"):
        return {statement}
    return {f"{table}: {part.strip(' ,)')}" for part in re.split(r", (?=\w+ |CONSTRAINT)", body)}
