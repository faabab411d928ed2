"""The spool and the database of one installation: each has the identifier of both, and no daemon starts on a mix.

A new, empty database beside a spool that holds studies would have every one of them run again, and their results sent
to the PACS again; a new data folder beside an old database would look for every image where there is none.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from daemon.errors import NotRunnable, WrongDatabase

if TYPE_CHECKING:
    from daemon.config import Config
    from db.database import Database
    from db.stores.installation import DatabaseSide
    from dicomio.files.spool.spool import Spool

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SpoolSide:
    """What a spool says of the database that it belongs to.

    Attributes:
        installation: Identifier of both, None if it has none yet.
        database: Where that database was.
        is_empty: It holds no study.
    """

    installation: str | None
    database: str
    is_empty: bool

    @classmethod
    def of(cls, spool: Spool) -> SpoolSide:
        """What this spool says."""
        noted = spool.owner.installation()
        return cls(noted[0] if noted else None, noted[1] if noted else "", spool.is_empty)


def check_installation(config: Config, database: Database, spool: Spool, before: SpoolSide | None = None) -> None:
    """Makes sure that the spool and the database belong together, and writes down that they do.

    What counts is the spool as it was `before` anything came, if that is given.

    Raises:
        WrongDatabase: They do not; says which of the two to use, and how to make them belong together.
    """
    here = before or SpoolSide.of(spool)
    join(config, database, spool, compare_installation(config, database, here))


def compare_installation(config: Config, database: Database, here: SpoolSide) -> str:
    """As `check_installation`, and writes nothing; returns the identifier that both are to have."""
    there = database.installation.side()
    if (why := mismatch(here, there)) is not None:
        raise WrongDatabase(reason=_advice(config, database, here, there, why))
    return identifier(here, there)


def identifier(spool: SpoolSide, database: DatabaseSide) -> str:
    """The identifier for both: the spool's, whose files are the truth; else the database's, or a new one."""
    return spool.installation or database.installation or secrets.token_hex(16)


@contextmanager
def locked(data_dir: Path | None) -> Iterator[None]:
    """Holds the data folder for this process; the lock dies with it. Raises NotRunnable if a daemon has it."""
    if data_dir is None:
        yield
        return
    fd = os.open(data_dir / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise NotRunnable(reason=f"another daemon already works on {data_dir}; stop it first") from None
    finally:
        os.close(fd)


def join(config: Config, database: Database, spool: Spool, installation: str) -> None:
    """Writes the identifier into both; first the database, as an empty one with an identifier goes with any spool."""
    moved = database.installation.belong_to(installation, str(config.data_dir), socket.gethostname())
    spool.owner.set_installation(installation, database.url)
    if moved:
        log.info("paths_made_relative", files=moved)


def mismatch(spool: SpoolSide, database: DatabaseSide) -> str | None:
    """Why the two do not belong together; None if they do, or if one is as good as new."""
    same = spool.installation is not None and spool.installation == database.installation
    if same or (spool.is_empty and database.is_empty):
        return None
    if database.is_empty:
        return "the database contains no study, but the spool contains some"
    if spool.installation and database.installation:
        return "they belong to different installations"
    if database.knows_files or (spool.is_empty and not database.installation):
        return None
    return "none of the files that the database knows are in the data folder"


def _advice(config: Config, database: Database, here: SpoolSide, there: DatabaseSide, why: str) -> str:
    lines = [f"The database {database.url} and the data folder {config.data_dir} do not belong together: {why}."]
    if here.database and here.database != database.url:
        lines.append(
            f"The database of this data folder was {here.database}: set `database` to it, or, with the daemon stopped, "
            f"copy it with `scanward db copy OLD NEW`."
        )
    if there.data_dir and there.data_dir != str(config.data_dir):
        lines.append(f"The data folder of this database was {there.data_dir}: set `data_dir` to it.")
    lines.append(
        "If these two are meant, `scanward db adopt` makes them belong together: studies that the database does not "
        "know are then routed as new ones, and their results are sent again."
    )
    return "\n".join(lines)
