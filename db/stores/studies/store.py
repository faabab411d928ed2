from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session

from db.columns import now as this_moment
from db.connection import Transactions
from db.errors import UnknownStudy
from db.moves import move
from db.reasons import NO_RULE
from db.records import Completable, InstanceFacts, SeriesFacts, StudyFacts, StudyRow
from db.records.mapping import record
from db.states import AssociationEnd, StudyState
from db.tables import Association, Instance, Series, Study
from db.tags import plain


def find_study(session: Session, uid: str, *, lock: bool = False) -> Study:
    """The row of a study; locked, it stays as it is until the transaction ends."""
    query = select(Study).where(Study.study_instance_uid == uid)
    study = session.scalar(query.with_for_update(key_share=True) if lock else query)
    if study is None:
        raise UnknownStudy(name=uid)
    return study


def study_row(study: Study) -> StudyRow:
    """The study as a record."""
    return record(StudyRow, study, reasons=tuple(study.reasons))


class Assembly(Transactions):
    """When is a study complete, and what is it then."""

    def studies_to_complete(
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
        query = select(Study.study_instance_uid).where(Study.state == StudyState.RECEIVING)
        query = query.order_by(Study.last_received_at)
        with self.read() as session:
            quiet = session.scalars(query.where(Study.last_received_at <= now - quiet_period)).all()
            found = {uid: f"nothing came for {quiet_period.total_seconds():g} s" for uid in quiet}
            if released_ok is not None:
                waited = Study.last_received_at <= now - released_ok
                for uid in session.scalars(query.where(waited, ~_came_by_open_end())):
                    found.setdefault(uid, "every association was released")
        return [Completable(uid, reason) for uid, reason in found.items()]

    def complete_study(self, study_uid: str, reason: str, *, now: dt.datetime | None = None) -> bool:
        """From receiving to complete: the rules may look at it. False if another daemon was quicker.

        Raises:
            UnknownStudy.
        """
        at = now or this_moment()
        values: dict[str, Any] = {"completed_at": at, "completed_because": reason, "reasons": [], "reason_code": None}
        return self._from(StudyState.RECEIVING, study_uid, StudyState.COMPLETE, because=reason, at=at, **values)

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

    def reroute_study(self, study_uid: str, because: str, *, now: dt.datetime | None = None) -> None:
        """From unmatched or routed to complete: the rules have changed, let them look again.

        Raises:
            UnknownStudy, IllegalMove.
        """
        with self.write() as session:
            move(session, find_study(session, study_uid, lock=True), StudyState.COMPLETE, because=because, at=now)

    def _from(self, old: StudyState, study_uid: str, to: StudyState, *, because: str, **columns: Any) -> bool:
        with self.write() as session:
            study = find_study(session, study_uid, lock=True)
            if study.state is not old:
                return False
            at = columns.pop("at") or this_moment()
            move(session, study, to, because=because, at=at, values=columns, images=study.images)
            return True

    def studies_to_route(self) -> list[str]:
        """UIDs of the studies that are complete and wait for the rules, longest waiting first."""
        query = select(Study.study_instance_uid).where(Study.state == StudyState.COMPLETE).order_by(Study.updated_at)
        with self.read() as session:
            return list(session.scalars(query))

    def study_facts(self, study_uid: str) -> StudyFacts:
        """Everything that routing needs to know of a study; conflicting images are left out.

        Raises:
            UnknownStudy.
        """
        with self.read() as session:
            study = find_study(session, study_uid)
            series = session.scalars(select(Series).where(Series.study_id == study.id).order_by(Series.id)).all()
            facts = tuple(_series_facts(session, row) for row in series)
            return StudyFacts(
                study=study_row(study), tags=study.tags, series=tuple(row for row in facts if row.instances)
            )


def _came_by_open_end() -> ColumnElement[bool]:
    """Whether the study has an image that came by no association, or by one that is still open or ended badly."""
    released = exists().where(
        Association.association_id == Instance.association_id, Association.how == AssociationEnd.RELEASED
    )
    of_study = and_(Series.study_id == Study.id, Instance.series_id == Series.id)
    return exists().where(of_study, or_(Instance.association_id.is_(None), ~released))


def _series_facts(session: Session, series: Series) -> SeriesFacts:
    query = select(Instance).where(Instance.series_id == series.id, Instance.current).order_by(Instance.id)
    return record(SeriesFacts, series, instances=tuple(record(InstanceFacts, row) for row in session.scalars(query)))
