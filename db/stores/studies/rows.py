"""Rows of studies and what belongs to them, as records."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from db.errors import UnknownStudy
from db.records import AssociationRow, InstanceRow, SeriesContents, SeriesRow, StudyContents, StudyRow
from db.records.mapping import record
from db.tables import Association, Instance, Series, Study


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


def study_contents(session: Session, study: Study) -> StudyContents:
    """A study with its series and images; conflicting images are left out."""
    series = session.scalars(select(Series).where(Series.study_id == study.id).order_by(Series.id)).all()
    found = tuple(_series_contents(session, row) for row in series)
    return StudyContents(study=study_row(study), tags=study.tags, series=tuple(row for row in found if row.instances))


def _series_contents(session: Session, series: Series) -> SeriesContents:
    query = select(Instance).where(Instance.series_id == series.id, Instance.current).order_by(Instance.id)
    return record(SeriesContents, series, instances=tuple(record(InstanceRow, row) for row in session.scalars(query)))


def series_rows(session: Session, study: Study) -> tuple[SeriesRow, ...]:
    """The series of a study, in the order in which they came."""
    query = select(Series).where(Series.study_id == study.id).order_by(Series.id)
    return tuple(record(SeriesRow, row) for row in session.scalars(query))


def is_of_study(study: Study, instance: type[Instance] = Instance) -> ColumnElement[bool]:
    """Whether an instance belongs to the study."""
    return instance.series_id.in_(select(Series.id).where(Series.study_id == study.id))


def associations(session: Session, of: ColumnElement[bool]) -> tuple[AssociationRow, ...]:
    """The associations that brought these instances, one that never ended in order (the power went) included."""
    query = select(Instance.association_id, func.min(Instance.source_ae), func.count())
    query = query.where(of, Instance.association_id.is_not(None)).group_by(Instance.association_id)
    found = []
    for uid, source_ae, files in session.execute(query.order_by(func.min(Instance.id))).all():
        ended = session.get(Association, uid)
        found.append(record(AssociationRow, ended) if ended else _never_ended(str(uid), source_ae, files))
    return tuple(found)


def _never_ended(uid: str, source_ae: str, files: int) -> AssociationRow:
    return AssociationRow(
        association_id=uid,
        calling_ae=source_ae,
        called_ae="",
        peer_host="",
        opened_at=None,
        closed_at=None,
        how=None,
        files=files,
    )
