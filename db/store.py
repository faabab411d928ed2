"""The job database, as everybody else sees it."""

from __future__ import annotations

from db.assembly import Assembly
from db.digests import inputs_digest
from db.installation import Installations
from db.intake import Intake
from db.jobs import Jobs
from db.losses import Losses
from db.outbox import Outbox
from db.queries import Queries

__all__ = ["Database", "inputs_digest"]


class Database(Intake, Assembly, Jobs, Losses, Outbox, Queries, Installations):
    """The job database: every call is a transaction of its own, and may come from any thread.

    Making one connects to nothing. The first call looks whether the tables are those that this version works with, and
    raises OutdatedSchema if not; `upgrade` makes them so.

    Args:
        url: "sqlite:////path/to/file" or "postgresql+psycopg://user:password@host/name".
        data_dir: The data folder, which the files that rows name lie in. Without it their paths come out as they are
            stored, relative to it.

    Raises:
        UnsupportedDatabase: For another URL.
    """
