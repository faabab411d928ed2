"""Where the database is: the URL that connects, and what of it may be shown."""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from db.errors import UnsupportedDatabase

SHOWN = frozenset(
    {"application_name", "connect_timeout", "dbname", "host", "hostaddr", "port", "sslmode", "target_session_attrs"}
)
"""What of the query of a URL may be shown (options of libpq); anything else may be a password."""

HIDDEN = "***"
SHORTEST = 3  # characters; shorter ones are parts of every other word


def parse_url(url: str) -> URL:
    """The URL with the driver that we use, and only of a database that we support.

    Raises:
        UnsupportedDatabase: Another database or driver, or SQLite in memory, which would forget every study at restart;
            or a URL in which the password cannot be told from the rest.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number
        raise UnsupportedDatabase(url="as configured", reason="it cannot be read as a URL") from None
    match parsed.drivername:
        case "sqlite" | "sqlite+pysqlite":
            if parsed.database in (None, "", ":memory:"):
                raise UnsupportedDatabase(
                    url=shown(parsed), reason="a database in memory forgets everything at restart"
                )
            return parsed.set(drivername="sqlite+pysqlite")
        case "postgres" | "postgresql" | "postgresql+psycopg":
            if url.count("@") > 1:
                reason = "an @ in user name, password or query is written %40"
                raise UnsupportedDatabase(url="as configured", reason=reason)
            return parsed.set(drivername="postgresql+psycopg")
        case other:
            if "@" in (parsed.host or "") + (parsed.database or ""):
                raise UnsupportedDatabase(url="as configured", reason=f"there is no support for {other}")
            raise UnsupportedDatabase(url=shown(parsed), reason=f"there is no support for {other}")


def shown(url: URL) -> str:
    """The URL without what may be secret."""
    kept = {name: value if name in SHOWN else HIDDEN for name, value in url.query.items()}
    return url.set(query=kept).render_as_string(hide_password=True)


def without_secrets(text: str, url: URL) -> str:
    """What a driver said, without what is secret in the URL."""
    for secret in sorted(_secrets(url), key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return text


def _secrets(url: URL) -> set[str]:
    hidden = [value for name, value in url.query.items() if name not in SHOWN]
    values = [one for value in hidden for one in ([value] if isinstance(value, str) else value)]
    return {*values, *([str(url.password)] if url.password else [])}
