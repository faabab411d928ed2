from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from db.columns import now
from db.connection import Transactions
from db.records import AssociationRow, IndexedInstance, IndexOutcome
from db.stores.studies.conflicts import Use, resolve, studies_with_conflicts
from db.stores.studies.indexing import Undecided, Verdicts, chunks, index
from db.stores.studies.store import find_study
from db.tables import Association, Instance, Series, Study

_TRIES = 3
Comparison = Callable[[Path, Path], bool]


class Intake(Transactions):
    """What came in: images and associations."""

    def index_instances(
        self,
        batch: Sequence[IndexedInstance],
        is_same_image: Callable[[Path, Path], bool] = lambda first, second: False,
    ) -> list[IndexOutcome]:
        """Writes a batch of images down, all of it or nothing; one outcome per image, in the order given.

        Studies and series are made as needed. Images that come late lead their study back to receiving.

        Args:
            batch: What came.
            is_same_image: Asked about two files with the same UIDs and other bytes: one image, encoded in two ways? It
                may take its time, no transaction waits for it.
        """
        verdicts: Verdicts = {}
        collisions = 0
        while True:
            try:
                with self.write() as session:
                    return index(session, batch, verdicts)
            except Undecided as question:
                for (known, first), (given, second) in question.pairs:
                    verdicts[known, given] = is_same_image(first, second)
            except IntegrityError:
                # Two daemons on PostgreSQL that index the same image at the same moment: the second must look again.
                collisions += 1
                if collisions == _TRIES:
                    raise

    def resolve_conflicts(self, use: Use, study_uid: str | None = None) -> dict[str, int]:
        """Uses the first or the last of the images that came twice with different content; all of them are kept.

        Args:
            use: "first" or "last".
            study_uid: Only in this study; in all if None.

        Returns:
            Study Instance UID to how many images there were conflicts about. Where the last ones are used the rules
            look at the study again.

        Raises:
            UnknownStudy.
        """
        with self.write() as session:
            one = [] if study_uid is None else [find_study(session, study_uid, lock=True)]
            studies = one or studies_with_conflicts(session)
            found = {study.study_instance_uid: resolve(session, study, use, now()) for study in studies}
        return {uid: images for uid, images in found.items() if images}

    def record_association(self, association: AssociationRow) -> bool:
        """Writes an association down; False if it was there already, as after a crash between row and file."""
        with self.write() as session:
            if session.get(Association, association.association_id) is not None:
                return False
            session.add(Association(**asdict(association)))
            return True

    def newest_instance(self) -> int:
        """Number of the newest row of an image, 0 if there is none."""
        with self.read() as session:
            return session.scalar(select(func.max(Instance.id))) or 0

    def paths_without_row(self, paths: Iterable[Path]) -> list[Path]:
        """Those of the files that the database knows nothing of: at start-up they are indexed."""
        unknown: list[Path] = []
        with self.read() as session:
            for chunk in chunks(paths):
                query = select(Instance.path).where(Instance.path.in_(chunk))
                known = set(session.scalars(query))
                unknown += [path for path in chunk if path not in known]
        return unknown

    def known_paths(self, study_uid: str | None = None) -> Collection[Path]:
        """Where the images lie, of one study or of all (which for a large archive is a large set)."""
        query = select(Instance.path)
        if study_uid is not None:
            query = query.join(Series, Series.id == Instance.series_id).join(Study, Study.id == Series.study_id)
            query = query.where(Study.study_instance_uid == study_uid)
        with self.read() as session:
            return set(session.scalars(query))

    def relocate(self, old: Path, new: Path) -> None:
        """Says that a file has been moved, or that a new copy takes the place of one that was lost."""
        with self.write() as session:
            session.execute(update(Instance).where(Instance.path == old).values(path=new))
