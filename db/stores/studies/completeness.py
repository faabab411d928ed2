"""Which studies need not be waited for any longer."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session

from db.records import Completable
from db.states import AssociationEnd, StudyState
from db.tables import Association, Instance, Series, Study


def completable(
    session: Session, now: dt.datetime, quiet_period: dt.timedelta, released_ok: dt.timedelta | None
) -> list[Completable]:
    """Studies for which nothing came for the quiet period, or whose associations were all released."""
    query = select(Study.study_instance_uid).where(Study.state == StudyState.RECEIVING)
    query = query.order_by(Study.last_received_at)
    quiet = session.scalars(query.where(Study.last_received_at <= now - quiet_period)).all()
    found = {uid: f"nothing came for {quiet_period.total_seconds():g} s" for uid in quiet}
    if released_ok is not None:
        waited = Study.last_received_at <= now - released_ok
        for uid in session.scalars(query.where(waited, ~_came_by_open_end())):
            found.setdefault(uid, "every association was released")
    return [Completable(uid, reason) for uid, reason in found.items()]


def _came_by_open_end() -> ColumnElement[bool]:
    """Whether the study has an image that came by no association, or by one that is still open or ended badly."""
    released = exists().where(
        Association.association_id == Instance.association_id, Association.how == AssociationEnd.RELEASED
    )
    of_study = and_(Series.study_id == Study.id, Instance.series_id == Series.id)
    return exists().where(of_study, or_(Instance.association_id.is_(None), ~released))
