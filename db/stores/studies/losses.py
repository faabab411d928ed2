"""Images that came and could not be used: written down once, and shown with the study that lacks them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from db.chunks import chunks
from db.records import LossRow
from db.records.mapping import record
from db.states import LossKind, StudyState
from db.tables import Instance, Loss, Series, Study
from db.tags import bounded, plain

_PLACE = "ImagePositionPatient"


def write(session: Session, lost: Sequence[LossRow]) -> int:
    """Writes losses down, those that are not there already; returns how many that were."""
    fresh = [one for one in lost if not session.scalar(select(exists().where(Loss.receipt == one.receipt)))]
    session.add_all(Loss(**_columns(one)) for one in fresh)
    for one in fresh:
        _keep_waiting(session, one)
    return len(fresh)


def count(session: Session) -> tuple[int, int]:
    """How many losses there are of studies that are known, and how many that belong to none that is known."""
    pairs = select(Loss.id).join(Study, _belongs())
    tied = session.scalar(select(func.count(func.distinct(Loss.id))).join(Study, _belongs() & ~_mended()))
    known = set(session.scalars(pairs))
    total = session.scalar(select(func.count()).select_from(Loss)) or 0
    return tied or 0, total - len(known)


def of_study(session: Session, study: Study) -> tuple[LossRow, ...]:
    """The losses of a study, in the order in which they were noted; conflicting images of another place come last."""
    query = select(Loss).join(Study, _belongs()).where(Study.id == study.id, ~_mended()).order_by(Loss.id)
    found = {row.sop_instance_uid or row.receipt: _record(row) for row in session.scalars(query)}
    return (*found.values(), *_of_conflicts(session, study))


def count_by_study(session: Session, study_uids: Iterable[str]) -> dict[str, int]:
    """Study Instance UID to number of losses, where there are any."""
    counts: dict[str, int] = {}
    number = func.count(func.distinct(func.coalesce(func.nullif(Loss.sop_instance_uid, ""), Loss.receipt)))
    for chunk in chunks(study_uids):
        query = select(Study.study_instance_uid, number).select_from(Loss).join(Study, _belongs() & ~_mended())
        query = query.where(Study.study_instance_uid.in_(chunk)).group_by(Study.study_instance_uid)
        counts |= dict(iter(session.execute(query)))
    return counts


def _columns(lost: LossRow) -> dict[str, Any]:
    uids = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
    values = {name: bounded(getattr(lost, name), "UI") for name in uids}
    values |= {"source_ae": bounded(lost.source_ae, "AE"), "number": bounded(lost.number, "SH")}
    return asdict(lost) | values | {"reason": plain(lost.reason), "position": plain(lost.position)}


def _keep_waiting(session: Session, lost: LossRow) -> None:
    query = select(Study).where(Study.study_instance_uid == lost.study_instance_uid)
    study = session.scalar(query.where(Study.state == StudyState.RECEIVING).with_for_update(key_share=True))
    if study is not None:
        study.last_received_at = max(study.last_received_at, lost.lost_at)


def _belongs() -> ColumnElement[bool]:
    """Whether a loss is of the study: by its UID, else by that of its series, else by the association it came by."""
    of_series = exists().where(Series.study_id == Study.id, Series.series_instance_uid == Loss.series_instance_uid)
    by_association = exists().where(
        Series.study_id == Study.id,
        Instance.series_id == Series.id,
        Instance.association_id == Loss.association_id,
    )
    nameless = Loss.study_instance_uid == ""
    return or_(
        Loss.study_instance_uid == Study.study_instance_uid,
        and_(nameless, Loss.series_instance_uid != "", of_series),
        and_(nameless, Loss.series_instance_uid == "", by_association),
    )


def _mended() -> ColumnElement[bool]:
    """Whether the image came again since, whole."""
    return exists().where(
        Series.study_id == Study.id,
        Instance.series_id == Series.id,
        Instance.current,
        Instance.sop_instance_uid == Loss.sop_instance_uid,
    )


def _record(row: Loss) -> LossRow:
    return record(LossRow, row, position=tuple(row.position) if row.position else None)


def _of_conflicts(session: Session, study: Study) -> list[LossRow]:
    """Images whose UID another image of the series has that is in use, and that lie elsewhere: no version, but lost."""
    kept = aliased(Instance)
    query = (
        select(Instance, Series.series_instance_uid, kept.instance_tags)
        .join(Series, Series.id == Instance.series_id)
        .join(kept, (kept.sop_instance_uid == Instance.sop_instance_uid) & (kept.series_id == Instance.series_id))
        .where(Series.study_id == study.id, Instance.conflict, kept.current)
        .order_by(Instance.id)
    )
    rows = session.execute(query).all()
    return [
        _conflict(study, row, series) for row, series, tags in rows if row.instance_tags.get(_PLACE) != tags.get(_PLACE)
    ]


def _conflict(study: Study, row: Instance, series_uid: str) -> LossRow:
    place = row.instance_tags.get(_PLACE)
    return LossRow(
        receipt=f"instance {row.id}",
        kind=LossKind.CONFLICTING,
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=series_uid,
        sop_instance_uid=row.sop_instance_uid,
        association_id=row.association_id,
        source_ae=row.source_ae,
        number=str(row.instance_tags.get("InstanceNumber") or ""),
        position=tuple(place) if isinstance(place, list) else None,
        reason="has the SOP Instance UID of another image, which is used",
        file=row.path.name,
        lost_at=row.received_at,
    )
