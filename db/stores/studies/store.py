"""Studies and their images, from the first one that comes to what the rules say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from db.chunks import chunks
from db.columns import now as this_moment
from db.connection import Transactions
from db.moves import events, move
from db.reasons import NO_RULE
from db.records import (
    AssociationRow,
    Completable,
    Conflict,
    IndexedInstance,
    IndexOutcome,
    LossRow,
    StudyContents,
    StudyDetail,
)
from db.states import StudyState
from db.stores.studies import losses
from db.stores.studies.completeness import completable
from db.stores.studies.conflicts import Use, conflicts, resolve, studies_with_conflicts
from db.stores.studies.indexing import Undecided, Verdicts, index
from db.stores.studies.rows import associations, find_study, is_of_study, series_rows, study_contents, study_row
from db.tables import Association, Instance, Job, JobEvent, Series, Study
from db.tags import plain

_TRIES = 3


class StudyStore:
    """What came in, what of it was lost or is in conflict, and when a study is complete."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    def index(
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
                with self._database.write() as session:
                    return index(session, batch, verdicts)
            except Undecided as question:
                for (known, first), (given, second) in question.pairs:
                    verdicts[known, given] = is_same_image(first, second)
            except IntegrityError:
                # Two daemons on PostgreSQL that index the same image at the same moment: the second must look again.
                collisions += 1
                if collisions == _TRIES:
                    raise

    def record_association(self, association: AssociationRow) -> bool:
        """Writes an association down; False if it was there already, as after a crash between row and file."""
        with self._database.write() as session:
            if session.get(Association, association.association_id) is not None:
                return False
            session.add(Association(**asdict(association)))
            return True

    def record_lost(self, lost: Sequence[LossRow]) -> int:
        """Writes losses down, those that are not there already; returns how many that were.

        A study that is being received goes on waiting: whoever sends damaged images is still at it.
        """
        with self._database.write() as session:
            return losses.write(session, lost)

    def lost_images(self, study_uid: str) -> tuple[LossRow, ...]:
        """What came for a study and could not be used, and has not come again since."""
        with self._database.read() as session:
            study = session.scalar(select(Study).where(Study.study_instance_uid == study_uid))
            return losses.of_study(session, study) if study else ()

    def count_lost(self) -> tuple[int, int]:
        """How many losses there are of studies that are known, and how many that belong to none that is known."""
        with self._database.read() as session:
            return losses.count(session)

    def newest_instance(self) -> int:
        """Number of the newest row of an image, 0 if there is none."""
        with self._database.read() as session:
            return session.scalar(select(func.max(Instance.id))) or 0

    def paths_without_row(self, paths: Iterable[Path]) -> list[Path]:
        """Those of the files that the database knows nothing of: at start-up they are indexed."""
        unknown: list[Path] = []
        with self._database.read() as session:
            for chunk in chunks(paths):
                known = set(session.scalars(select(Instance.path).where(Instance.path.in_(chunk))))
                unknown += [path for path in chunk if path not in known]
        return unknown

    def known_paths(self, study_uid: str | None = None) -> Collection[Path]:
        """Where the images lie, of one study or of all (which for a large archive is a large set)."""
        query = select(Instance.path)
        if study_uid is not None:
            query = query.join(Series, Series.id == Instance.series_id).join(Study, Study.id == Series.study_id)
            query = query.where(Study.study_instance_uid == study_uid)
        with self._database.read() as session:
            return set(session.scalars(query))

    def relocate(self, old: Path, new: Path) -> None:
        """Says that a file has been moved, or that a new copy takes the place of one that was lost."""
        with self._database.write() as session:
            session.execute(update(Instance).where(Instance.path == old).values(path=new))

    def to_complete(
        self, now: dt.datetime, quiet_period: dt.timedelta, released_ok: dt.timedelta | None = None
    ) -> list[Completable]:
        """Studies that are being received and need not be waited for any longer.

        Index what lies in the spool before asking: only what has a row counts as having come.

        Args:
            now: Compared with when the last image was received.
            quiet_period: Nothing came for this long.
            released_ok: A shorter wait for a study all of whose associations were released in order (a scanner that
                sends one association per series needs more than none). None: no such thing.
        """
        with self._database.read() as session:
            return completable(session, now, quiet_period, released_ok)

    def complete(self, study_uid: str, reason: str, *, now: dt.datetime | None = None) -> bool:
        """From receiving to complete: the rules may look at it. False if another daemon was quicker.

        Raises:
            UnknownStudy.
        """
        at = now or this_moment()
        values: dict[str, Any] = {"completed_at": at, "completed_because": reason, "reasons": [], "reason_code": None}
        return self._from(StudyState.RECEIVING, study_uid, StudyState.COMPLETE, because=reason, at=at, **values)

    def to_route(self) -> list[str]:
        """UIDs of the studies that are complete and wait for the rules, longest waiting first."""
        query = select(Study.study_instance_uid).where(Study.state == StudyState.COMPLETE).order_by(Study.updated_at)
        with self._database.read() as session:
            return list(session.scalars(query))

    def contents(self, study_uid: str) -> StudyContents:
        """Everything that routing needs to know of a study; conflicting images are left out.

        Raises:
            UnknownStudy.
        """
        with self._database.read() as session:
            return study_contents(session, find_study(session, study_uid))

    def set_routed(self, study_uid: str, routes: str, *, now: dt.datetime | None = None) -> bool:
        """From complete to routed, once its jobs are made. False if images came in meanwhile: it will come again.

        Raises:
            UnknownStudy.
        """
        return self._from(
            StudyState.COMPLETE, study_uid, StudyState.ROUTED, because=routes, at=now, reasons=[], reason_code=None
        )

    def set_unmatched(
        self, study_uid: str, reasons: Sequence[str], *, code: str = NO_RULE, now: dt.datetime | None = None
    ) -> bool:
        """From complete to unmatched: no rule took it, and why, in words and as a code.

        False if images came in meanwhile.

        Raises:
            UnknownStudy.
        """
        why = [plain(str(reason)) for reason in reasons]
        because = "no rule took it"
        return self._from(
            StudyState.COMPLETE, study_uid, StudyState.UNMATCHED, because=because, at=now, reasons=why, reason_code=code
        )

    def reroute(self, study_uid: str, because: str, *, now: dt.datetime | None = None) -> None:
        """From unmatched or routed to complete: the rules have changed, let them look again.

        Raises:
            UnknownStudy, IllegalMove.
        """
        with self._database.write() as session:
            move(session, find_study(session, study_uid, lock=True), StudyState.COMPLETE, because=because, at=now)

    def _from(self, old: StudyState, study_uid: str, to: StudyState, *, because: str, **columns: Any) -> bool:
        with self._database.write() as session:
            study = find_study(session, study_uid, lock=True)
            if study.state is not old:
                return False
            at = columns.pop("at") or this_moment()
            move(session, study, to, because=because, at=at, values=columns, images=study.images)
            return True

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
        with self._database.write() as session:
            one = [] if study_uid is None else [find_study(session, study_uid, lock=True)]
            studies = one or studies_with_conflicts(session)
            found = {study.study_instance_uid: resolve(session, study, use, this_moment()) for study in studies}
        return {uid: images for uid, images in found.items() if images}

    def conflicts(self, since: dt.datetime | None = None, limit: int = 100) -> list[Conflict]:
        """Images that came twice with different content, latest first."""
        narrow = [] if since is None else [Instance.received_at >= since]
        with self._database.read() as session:
            return list(conflicts(session, narrow, limit))

    def show(self, study_uid: str) -> StudyDetail:
        """All that is known of a study, whether it has jobs or not. Raises UnknownStudy."""
        with self._database.read() as session:
            study = find_study(session, study_uid)
            instances = is_of_study(study)
            jobs = session.scalars(select(Job.id).where(Job.study_id == study.id).order_by(Job.id.desc()))
            return StudyDetail(
                study=study_row(study),
                series=series_rows(session, study),
                events=events(session, JobEvent.study_id == study.id, JobEvent.job_id.is_(None)),
                associations=associations(session, instances),
                conflicts=conflicts(session, [instances], limit=1000),
                lost=losses.of_study(session, study),
                jobs=tuple(jobs),
            )
