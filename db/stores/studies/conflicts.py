"""What a person decides about images that came twice with different content: the first or the last one is used."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from db.moves import move, note
from db.states import StudyState
from db.tables import Instance, Series, Study

_AT_ONCE = 500
Use = Literal["first", "last"]


def resolve(session: Session, study: Study, use: Use, at: dt.datetime) -> int:
    """Uses the first or the last of each image of a study that there are conflicts about; the others are kept.

    Where the last are used the study is put before the rules again.

    Returns:
        How many images there were conflicts about.
    """
    of_study = Instance.series_id.in_(select(Series.id).where(Series.study_id == study.id))
    keys = _disputed(session, of_study)
    pick = func.min if use == "first" else func.max
    candidates = or_(Instance.current, Instance.conflict)
    chosen = []
    for series_id, uid in keys:
        mine = (Instance.series_id == series_id, Instance.sop_instance_uid == uid, candidates)
        chosen.append(session.scalar(select(pick(Instance.id)).where(*mine)))
        session.execute(update(Instance).where(*mine).values(current=False, conflict=False))
    for start in range(0, len(chosen), _AT_ONCE):
        later = update(Instance).where(Instance.id.in_(chosen[start : start + _AT_ONCE]))
        session.execute(later.values(current=True))
    if keys:
        note(session, study, "conflicts resolved", because=f"the {use} of each image is used", at=at, images=len(keys))
    if keys and use == "last" and study.state in (StudyState.ROUTED, StudyState.UNMATCHED):
        move(session, study, StudyState.COMPLETE, because="other images are used now", at=at)
    return len(keys)


def studies_with_conflicts(session: Session) -> list[Study]:
    """Studies in which images came twice with different content."""
    query = select(Series.study_id).join(Instance, Instance.series_id == Series.id).where(Instance.conflict)
    return list(session.scalars(select(Study).where(Study.id.in_(query)).order_by(Study.id).with_for_update()))


def _disputed(session: Session, of_study: ColumnElement[bool]) -> list[tuple[int, str]]:
    query = select(Instance.series_id, Instance.sop_instance_uid).where(of_study, Instance.conflict).distinct()
    return [(series_id, uid) for series_id, uid in session.execute(query)]
