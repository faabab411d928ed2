"""The job database, as everybody else sees it."""

from __future__ import annotations

from pathlib import Path

from db.connection import Transactions
from db.records import Counts
from db.states import JobState, StudyState
from db.stores.counts import counts, reasons
from db.stores.deliveries.store import DeliveryStore
from db.stores.installation import InstallationStore
from db.stores.jobs.store import JobStore
from db.stores.studies.store import StudyStore


class Database(Transactions):
    """The job database: every call of its stores is a transaction of its own, and may come from any thread.

    Making one connects to nothing. The first call looks whether the tables are those that this version works with, and
    raises OutdatedSchema if not; `upgrade` makes them so.

    Args:
        url: "sqlite:////path/to/file" or "postgresql+psycopg://user:password@host/name".
        data_dir: The data folder, which the files that rows name lie in. Without it their paths come out as they are
            stored, relative to it.

    Attributes:
        studies: What came in, and when a study is complete.
        jobs: What is to be done, what is being done, and how it ended.
        deliveries: The results on their way to the destinations.
        installation: Which data folder this database belongs to.

    Raises:
        UnsupportedDatabase: For another URL.
    """

    def __init__(self, url: str, data_dir: Path | None = None) -> None:
        super().__init__(url, data_dir)
        self.studies = StudyStore(self)
        self.jobs = JobStore(self)
        self.deliveries = DeliveryStore(self)
        self.installation = InstallationStore(self)

    def counts(self) -> Counts:
        """How many studies, jobs and deliveries there are in each state."""
        with self.read() as session:
            return counts(session)

    def reasons(self) -> dict[JobState | StudyState, dict[str, int]]:
        """How many jobs and studies wait for a person, by state and code of the reason."""
        with self.read() as session:
            return reasons(session)
