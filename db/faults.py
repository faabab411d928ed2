"""Whose fault an error of the database is: of the row that was to be written, or of the database, which may come back.

The drivers' exception classes do not say it. psycopg gives OperationalError for a value that does not fit into an index
(class 54) and for a server that shuts down (class 57); sqlite3 gives DatabaseError for a damaged file. The codes do.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from db.errors import RowRefused, StoreError

# Of PostgreSQL (appendix A of its manual): the first two characters of SQLSTATE.
_OF_THE_ROW = frozenset(
    {
        "22",  # data exception: out of range, invalid text
        "23",  # integrity constraint violation
        "54",  # program limit exceeded: an index row too large, too many columns
    }
)
_AWAY = frozenset(
    {
        "08",  # connection exception
        "25",  # invalid transaction state: read-only, as a standby is during a failover
        "28",  # invalid authorization
        "3D",  # no such database
        "40",  # transaction rollback: a deadlock, a conflict of two transactions
        "53",  # insufficient resources: disk full, too many connections
        "55",  # object not in prerequisite state: locked by another
        "57",  # operator intervention: shutting down, cancelled
        "58",  # system error: the disk
        "F0",  # configuration file error
        "XX",  # internal error: a damaged file
    }
)

# Of SQLite (sqlite.org/rescode.html): the low byte of its code.
_SQLITE_OF_THE_ROW = frozenset({18, 19, 20, 25})  # too big, constraint, mismatch, range
_SQLITE_AWAY = frozenset({3, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 17, 22, 23, 26})  # permission, busy, full, disk, ...


def is_of_the_row(error: DBAPIError) -> bool:
    """Whether what was to be written is at fault: writing it again gives the same, writing something else may not."""
    code, state = _codes(error)
    return state[:2] in _OF_THE_ROW or code in _SQLITE_OF_THE_ROW


def may_be_of_a_row(error: Exception) -> bool:
    """Whether one row of a batch may be why it was not taken; else the database is away, or not as it should be."""
    if isinstance(error, DBAPIError):
        return is_of_the_row(error)
    return isinstance(error, RowRefused) or not isinstance(error, StoreError)


def is_away(error: DBAPIError) -> bool:
    """Whether the database is at fault, and may be as it should some time later."""
    code, state = _codes(error)
    if state:
        return state[:2] in _AWAY
    if code:
        return code in _SQLITE_AWAY
    return isinstance(error, OperationalError | InterfaceError)  # no answer, hence no code


def code_of(error: DBAPIError) -> str:
    """The code in words, for logs and messages; it holds no value."""
    code, state = _codes(error)
    return f"SQLSTATE {state}" if state else f"SQLite error {code}"


def _codes(error: DBAPIError) -> tuple[int, str]:
    """SQLite's code, 0 for none, and PostgreSQL's SQLSTATE, '' for none."""
    code = getattr(error.orig, "sqlite_errorcode", None) or 0
    return code & 0xFF, getattr(error.orig, "sqlstate", None) or ""
