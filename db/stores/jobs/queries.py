from __future__ import annotations

import datetime as dt
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.connection import Transactions
from db.records import Conflict, Counts, DestinationRow, JobDetail, JobFilter, JobRow, JobSummary, StudyDetail
from db.states import DeliveryState, JobState, StudyState
from db.stores.jobs import details, lists
from db.stores.jobs.lists import NEED_A_PERSON
from db.stores.jobs.rows import find_job, inputs_of, job_record
from db.stores.studies import losses
from db.stores.studies.store import find_study, study_row
from db.tables import Delivery, Instance, Job, JobEvent, Study


class Queries(Transactions):
    """What can be asked afterwards."""

    def list_jobs(self, wanted: JobFilter | None = None) -> list[JobSummary]:
        """Jobs, and studies that have none (yet), latest change first: all that is in the house, on one list."""
        with self.read() as session:
            return lists.lines(session, wanted or JobFilter())

    def show_job(self, job_id: int) -> JobDetail:
        """All that is known of a job. Raises UnknownJob."""
        with self.read() as session:
            job = find_job(session, job_id)
            study = session.get_one(Study, job.study_id)
            return JobDetail(
                job=job_record(session, JobRow, job),
                study=study_row(study),
                events=details.events(session, JobEvent.job_id == job.id),
                results=details.results(session, job),
                measurements=details.measurements(session, job),
                deliveries=details.deliveries(session, job),
                associations=details.associations(session, details.instances_of_job(job)),
                inputs=inputs_of(session, job),
                series=details.series(session, study),
                lost=losses.of_study(session, study),
            )

    def show_study(self, study_uid: str) -> StudyDetail:
        """All that is known of a study, whether it has jobs or not. Raises UnknownStudy."""
        with self.read() as session:
            study = find_study(session, study_uid)
            instances = details.instances_of_study(study)
            jobs = session.scalars(select(Job.id).where(Job.study_id == study.id).order_by(Job.id.desc()))
            return StudyDetail(
                study=study_row(study),
                series=details.series(session, study),
                events=details.events(session, (JobEvent.study_id == study.id) & JobEvent.job_id.is_(None)),
                associations=details.associations(session, instances),
                conflicts=details.conflicts(session, [instances], limit=1000),
                lost=losses.of_study(session, study),
                jobs=tuple(jobs),
            )

    def recent_conflicts(self, since: dt.datetime | None = None, limit: int = 100) -> list[Conflict]:
        """Images that came twice with different content, latest first."""
        narrow = [] if since is None else [Instance.received_at >= since]
        with self.read() as session:
            return list(details.conflicts(session, narrow, limit))

    def counts(self) -> Counts:
        """How many studies, jobs and deliveries there are in each state."""
        with self.read() as session:
            return Counts(
                studies=_count(session, Study.state, StudyState),
                jobs=_count(session, Job.state, JobState),
                deliveries=_count(session, Delivery.state, DeliveryState),
            )

    def reasons(self) -> dict[JobState | StudyState, dict[str, int]]:
        """How many jobs and studies wait for a person, by state and code of the reason."""
        found: dict[JobState | StudyState, dict[str, int]] = {}
        with self.read() as session:
            jobs = select(Job.state, Job.reason_code, func.count()).where(Job.state.in_(NEED_A_PERSON))
            for state, code, number in session.execute(jobs.group_by(Job.state, Job.reason_code)):
                found.setdefault(state, {})[code or ""] = number
            studies = select(Study.reason_code, func.count()).where(Study.state == StudyState.UNMATCHED)
            for code, number in session.execute(studies.group_by(Study.reason_code)):
                found.setdefault(StudyState.UNMATCHED, {})[code or ""] = number
        return found

    def destinations(self) -> list[DestinationRow]:
        """How far deliveries to each destination are, by name; those that nothing was ever sent to are not there."""
        with self.read() as session:
            return details.destinations(session)


S = TypeVar("S", StudyState, JobState, DeliveryState)


def _count(session: Session, column: InstrumentedAttribute[S], states: type[S]) -> dict[S, int]:
    found: dict[S, int] = dict(iter(session.execute(select(column, func.count()).group_by(column))))
    return {state: found.get(state, 0) for state in states}
