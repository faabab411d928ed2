"""Images that came twice with different content: which there are, and that the first or the last one is used."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from db.chunks import chunks
from db.moves import move, note
from db.records import Conflict
from db.records.mapping import record
from db.states import StudyState
from db.stores.studies.rows import is_of_study
from db.tables import Instance, Series, Study

Use = Literal["first", "last"]


def resolve(session: Session, study: Study, use: Use, at: dt.datetime) -> int:
    """Uses the first or the last of each image of a study that there are conflicts about; the others are kept.

    Where the last are used the study is put before the rules again.

    Returns:
        How many images there were conflicts about.
    """
    keys = _disputed(session, is_of_study(study))
    pick = func.min if use == "first" else func.max
    candidates = or_(Instance.current, Instance.conflict)
    chosen = []
    for series_id, uid in keys:
        mine = (Instance.series_id == series_id, Instance.sop_instance_uid == uid, candidates)
        chosen.append(session.scalar(select(pick(Instance.id)).where(*mine)))
        session.execute(update(Instance).where(*mine).values(current=False, conflict=False))
    for chunk in chunks(chosen):
        session.execute(update(Instance).where(Instance.id.in_(chunk)).values(current=True))
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


def conflicts(session: Session, narrow: Sequence[ColumnElement[bool]], limit: int) -> tuple[Conflict, ...]:
    """Images that came twice with different content, latest first."""
    kept = aliased(Instance)
    query = (
        select(Instance, kept, Study)
        .join(kept, (kept.sop_instance_uid == Instance.sop_instance_uid) & (kept.series_id == Instance.series_id))
        .join(Series, Series.id == Instance.series_id)
        .join(Study, Study.id == Series.study_id)
        .where(Instance.conflict, kept.current, *narrow)
        .order_by(Instance.received_at.desc(), Instance.id.desc())
        .limit(limit)
    )
    return tuple(_conflict(other, first, study) for other, first, study in session.execute(query))


def _conflict(other: Instance, kept: Instance, study: Study) -> Conflict:
    return record(
        Conflict,
        other,
        study_uid=study.study_instance_uid,
        patient_id=study.patient_id,
        kept=kept.path,
        kept_digest=kept.content_digest,
        other=other.path,
        other_digest=other.content_digest,
    )
