"""A study that is sent again under another identity: what it is now, and what became of the former one.

With another StudyInstanceUID it is another study, which runs as any other; the former one says where its images came
again. With another PatientID it stays one study: once every image has come again, the later ones take the place of the
former ones, which are kept beside, and the rules look again. Before that, and where contents differ while the identity
does not, they are conflicts, for a person to decide on (`db.stores.studies.conflicts`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session, aliased

from db.chunks import chunks
from db.moves import move, note
from db.records import IndexedInstance
from db.states import StudyState
from db.stores.studies.rows import is_of_study
from db.tables import Instance, Series, Study
from db.tags import of_study

_LATEST = 10


def recognise(
    session: Session,
    study: Study,
    new: Sequence[IndexedInstance],
    conflicts: Sequence[IndexedInstance],
    at: dt.datetime,
) -> None:
    """Looks whether what came just now makes the study another one's later sending, or its own.

    Args:
        session: The transaction; the rows of what came are written.
        study: The study that it came for.
        new: The images that are new to it.
        conflicts: Those that have the UIDs of an image that it has, and another content.
        at: When.
    """
    for former in _studies_with(session, study, new):
        if former.became is None and _has_all_of(session, study, former):
            _note_sent_again(session, study, former, at)
    identities = {item.patient_id: item for item in conflicts if item.patient_id not in ("", study.patient_id)}
    for patient_id, item in identities.items():
        if not _lacks(session, study, patient_id):
            _correct(session, study, item, at)


def _studies_with(session: Session, study: Study, new: Sequence[IndexedInstance]) -> Iterator[Study]:
    """Other studies that have used the SOP Instance UIDs of these images; a device may use the same ones every day."""
    uids = sorted({item.sop_instance_uid for item in new})
    found: set[int] = set()
    for chunk in chunks(uids):
        query = select(Series.study_id).join(Instance, Instance.series_id == Series.id).distinct()
        used = Instance.sop_instance_uid.in_(chunk)
        found.update(session.scalars(query.where(used, Series.study_id != study.id)))
    for key in sorted(found, reverse=True)[:_LATEST]:
        yield session.get_one(Study, key)


def _has_all_of(session: Session, study: Study, former: Study) -> bool:
    """Whether every image of another study that is in use has come for this one too."""
    other = aliased(Instance)
    came = exists().where(is_of_study(study, other), other.current, other.sop_instance_uid == Instance.sop_instance_uid)
    return session.scalar(select(Instance.id).where(is_of_study(former), Instance.current, ~came).limit(1)) is None


def _note_sent_again(session: Session, study: Study, former: Study, at: dt.datetime) -> None:
    corrected = "with another PatientID" if study.patient_id != former.patient_id else "with the same PatientID"
    became = f"all of its images came again as study {study.study_instance_uid}, {corrected}"
    session.execute(update(Study).where(Study.id == former.id).values(became=became))
    note(session, former, "sent again", because=became, at=at, study=study.study_instance_uid)
    told = f"all images of study {former.study_instance_uid} are in this one, {corrected}"
    note(session, study, "is a study sent again", because=told, at=at, study=former.study_instance_uid)


def _lacks(session: Session, study: Study, patient_id: str) -> bool:
    """Whether an image in use has another PatientID, and has not come again with this one."""
    again = aliased(Instance)
    came = exists().where(
        again.series_id == Instance.series_id,
        again.sop_instance_uid == Instance.sop_instance_uid,
        again.conflict,
        again.patient_id == patient_id,
    )
    query = select(Instance.id).where(is_of_study(study), Instance.current, Instance.patient_id != patient_id, ~came)
    return session.scalar(query.limit(1)) is not None


def _correct(session: Session, study: Study, item: IndexedInstance, at: dt.datetime) -> None:
    """The images with the later PatientID take the place of those with the former one."""
    mine = is_of_study(study)
    latest = (
        select(func.max(Instance.id))
        .where(mine, Instance.conflict, Instance.patient_id == item.patient_id)
        .group_by(Instance.series_id, Instance.sop_instance_uid)
    )
    chosen = list(session.scalars(latest))
    former = update(Instance).where(mine, Instance.current, Instance.patient_id != item.patient_id)
    session.execute(former.values(current=False))
    for chunk in chunks(chosen):
        session.execute(update(Instance).where(Instance.id.in_(chunk)).values(current=True, conflict=False))
    _set_identity(session, study, item)
    study.became = "all of its images came again with another PatientID; the later ones are used, the former ones kept"
    session.flush()
    if study.state is not StudyState.RECEIVING:
        move(session, study, StudyState.RECEIVING, because="sent again with another PatientID", at=at)
    note(session, study, "identity corrected", because=study.became, at=at, images=len(chosen))


def _set_identity(session: Session, study: Study, item: IndexedInstance) -> None:
    """What rows tell of the patient is that of the later images."""
    told = of_study(item.tags)
    study.patient_id, study.accession_number = item.patient_id, item.accession_number or study.accession_number
    study.tags = {**study.tags, **told}
    for series in session.scalars(select(Series).where(Series.study_id == study.id)):
        series.tags = {**series.tags, **{name: value for name, value in told.items() if name in series.tags}}
