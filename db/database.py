"""The job database, as everybody else sees it."""

from __future__ import annotations

from db.digests import inputs_digest
from db.stores.deliveries.store import Outbox
from db.stores.installation import Installations
from db.stores.jobs.queries import Queries
from db.stores.jobs.store import Jobs
from db.stores.studies.intake import Intake
from db.stores.studies.losses import Losses
from db.stores.studies.store import Assembly

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
