"""Which data folder and which database belong together."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.columns import now
from db.connection import Transactions
from db.files import make_relative
from db.tables import Installation, Instance, Result, Study

_SAMPLE = 100


@dataclass(frozen=True)
class DatabaseSide:
    """What a database says of the spool that it belongs to.

    Attributes:
        installation: Identifier of both, None if it has none yet.
        data_dir: Where that spool was when a daemon last started on it, '' if it has not been.
        is_empty: It knows no study.
        knows_files: Of the images that it knows, some of the newest lie in this data folder.
    """

    installation: str | None
    data_dir: str
    is_empty: bool
    knows_files: bool


class InstallationStore:
    """Which spool and which database belong together."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    def side(self) -> DatabaseSide:
        """What this database says."""
        with self._database.read() as session:
            row = session.scalar(select(Installation))
            return DatabaseSide(
                installation=row.id if row else None,
                data_dir=row.data_dir if row else "",
                is_empty=session.scalar(select(Study.id).limit(1)) is None,
                knows_files=self._knows_files(session),
            )

    def belong_to(self, installation: str, data_dir: str, host: str) -> int:
        """Writes down whose database this is. Paths that an older version wrote whole become relative to the folder.

        Returns:
            How many paths it changed.
        """
        with self._database.write() as session:
            row = session.scalar(select(Installation))
            if row is not None and (row.id, row.data_dir, row.host) == (installation, data_dir, host):
                return 0
            created = row.created_at if row else now()
            session.execute(delete(Installation))
            session.add(Installation(id=installation, created_at=created, data_dir=data_dir, host=host))
            return sum(make_relative(session, kind) for kind in (Instance, Result))

    def _knows_files(self, session: Session) -> bool:
        folder = self._database.data_folder
        newest = session.scalars(select(Instance.path).order_by(Instance.id.desc()).limit(_SAMPLE))
        return folder is not None and any((folder.path / folder.rebased(path)).exists() for path in newest)
