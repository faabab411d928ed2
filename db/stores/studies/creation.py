"""The studies and series of a batch of images: found, or created where missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.chunks import chunks
from db.moves import note
from db.records import IndexedInstance
from db.records.mapping import values
from db.states import StudyState
from db.tables import Series, Study
from db.tags import bounded, of_study

SeriesKey = tuple[int, str]  # study.id, Series Instance UID


def _description(item: IndexedInstance, keyword: str) -> str:
    return bounded(str(item.tags.get(keyword) or ""), "LO")


def studies_of(session: Session, batch: Sequence[IndexedInstance]) -> dict[str, Study]:
    """The studies of the batch, created where missing, and locked (on PostgreSQL) until the transaction ends."""
    firsts = _firsts(batch, lambda item: item.study_instance_uid)
    studies = _lock_studies(session, firsts)
    missing = sorted(
        firsts.keys() - studies.keys()
    )  # in order, as two daemons that insert the same ones must not cross
    if missing:
        created = _insert_studies(session, [_new_study(firsts[uid]) for uid in missing])
        studies |= _lock_studies(session, missing)
        for uid in created:
            note(session, studies[uid], "-> receiving", because="first image", at=studies[uid].first_received_at)
    for item in batch:
        _fill_gaps(studies[item.study_instance_uid], item)
    return studies


def _insert_studies(session: Session, rows: list[dict[str, Any]]) -> Sequence[str]:
    """Inserts, passing over studies that another daemon has inserted just now; the UIDs of those that are ours."""
    dialect = session.get_bind().dialect.name
    statement = postgresql.insert(Study) if dialect == "postgresql" else sqlite.insert(Study)
    return session.scalars(statement.on_conflict_do_nothing().returning(Study.study_instance_uid), rows).all()


def _lock_studies(session: Session, uids: Iterable[str]) -> dict[str, Study]:
    found = {}
    for chunk in chunks(sorted(uids)):
        query = select(Study).where(Study.study_instance_uid.in_(chunk)).order_by(Study.study_instance_uid)
        # NO KEY UPDATE: whoever only refers to the study (an event of one of its jobs) does not have to wait.
        for study in session.scalars(query.with_for_update(key_share=True)):
            found[study.study_instance_uid] = study
    return found


def _firsts(batch: Sequence[IndexedInstance], key: Any) -> dict[Any, IndexedInstance]:
    return {key(item): item for item in reversed(batch)}


def _new_study(item: IndexedInstance) -> dict[str, Any]:
    return values(
        Study,
        item,
        state=StudyState.RECEIVING,
        description=_description(item, "StudyDescription"),
        tags=of_study(item.tags),
        images=0,
        reasons=[],
        first_received_at=item.received_at,
        last_received_at=item.received_at,
        updated_at=item.received_at,
    )


def _fill_gaps(study: Study, item: IndexedInstance) -> None:
    """What the first image of a study did not tell, a later one may."""
    study.patient_id = study.patient_id or item.patient_id
    study.accession_number = study.accession_number or item.accession_number
    study.study_date = study.study_date or item.study_date
    study.description = study.description or _description(item, "StudyDescription")
    told = {**of_study(item.tags), **study.tags}
    if told != study.tags:
        study.tags = told


def series_of(session: Session, batch: Sequence[IndexedInstance], studies: dict[str, Study]) -> dict[SeriesKey, Series]:
    """The series of the batch, created where missing."""

    def key(item: IndexedInstance) -> SeriesKey:
        return studies[item.study_instance_uid].id, item.series_instance_uid

    firsts = _firsts(batch, key)
    found = _find_series(session, firsts)
    missing = sorted(firsts.keys() - found.keys())
    if missing:
        session.execute(insert(Series), [_new_series(study_id, firsts[study_id, uid]) for study_id, uid in missing])
        found |= _find_series(session, missing)
    return found


def _find_series(session: Session, keys: Iterable[SeriesKey]) -> dict[SeriesKey, Series]:
    wanted = set(keys)
    found = {}
    for chunk in chunks({uid for _, uid in wanted}):
        for series in session.scalars(select(Series).where(Series.series_instance_uid.in_(chunk))):
            if (key := (series.study_id, series.series_instance_uid)) in wanted:
                found[key] = series
    return found


def _new_series(study_id: int, item: IndexedInstance) -> dict[str, Any]:
    return values(Series, item, study_id=study_id, description=_description(item, "SeriesDescription"), images=0)
