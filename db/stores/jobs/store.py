"""Jobs, from the order to the end."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from db.columns import now as this_moment
from db.connection import Transactions
from db.errors import InputsChanged, NothingToResend
from db.moves import move
from db.reasons import CANCELLED, FAILED, REFUSED, WORKER_LOST_TWICE
from db.records import (
    AlreadyExists,
    ClaimedJob,
    Created,
    JobDetail,
    JobFilter,
    JobOrder,
    JobOutcome,
    JobRow,
    JobSummary,
    Recovered,
    ResultFormat,
)
from db.states import JobState, StudyState
from db.stores.deliveries.of_job import (
    cancel_undelivered,
    of_host,
    recover_deliveries,
    resend_deliveries,
    resume_deliveries,
)
from db.stores.jobs.destinations import delivered_to
from db.stores.jobs.details import claimed_job, job_detail
from db.stores.jobs.lists import summaries
from db.stores.jobs.ordering import order_job
from db.stores.jobs.outcomes import findings, write_outcome
from db.stores.jobs.priority import BY_PRIORITY
from db.stores.jobs.rows import find_job, job_record
from db.stores.studies.rows import find_study
from db.tables import Job, Result
from db.tags import plain

MAX_WORKERS_LOST = 2
"""A job that has killed its worker this often is not given another one."""


class JobStore:
    """What is to be done, what is being done, and how it ended."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    def create(
        self,
        study_uid: str,
        order: JobOrder,
        *,
        formats: Mapping[str, ResultFormat] = MappingProxyType({}),
        now: dt.datetime | None = None,
    ) -> Created | AlreadyExists:
        """Makes a job over the images that the series of the roles have now, and writes down which they were.

        Older jobs of the same study, rule and pipeline are superseded: what they have not delivered is cancelled, what
        was accepted stays recorded. The same images with the same pipeline and models make no second job: the one that
        there is also serves the destinations of this order. Only where it does not make what they want (`formats`) does
        a new job take its place; it also goes to the destinations that the older one had not served yet.

        Raises:
            UnknownStudy, UnknownSeries.
            InputsChanged: The order names a digest, and other images are there by now. The study is receiving again.
        """
        with self._database.write() as session:
            return order_job(session, find_study(session, study_uid, lock=True), order, now or this_moment(), formats)

    def route_study(
        self,
        study_uid: str,
        orders: Sequence[JobOrder],
        *,
        because: str,
        formats: Mapping[str, ResultFormat] = MappingProxyType({}),
        now: dt.datetime | None = None,
    ) -> list[Created | AlreadyExists]:
        """From complete to routed, with all of its jobs in one transaction: none is claimed before the last is ordered.

        Raises:
            UnknownStudy, UnknownSeries.
            InputsChanged: Images came in meanwhile; nothing was made, and the study will be complete again.
        """
        at = now or this_moment()
        with self._database.write() as session:
            study = find_study(session, study_uid, lock=True)
            if study.state is not StudyState.COMPLETE:
                raise InputsChanged(study_uid=study_uid)
            made = [order_job(session, study, order, at, formats) for order in orders]
            values: dict[str, Any] = {"reasons": [], "reason_code": None}
            move(session, study, StudyState.ROUTED, because=because, at=at, values=values, images=study.images)
            return made

    def claim(self, worker: str, now: dt.datetime | None = None) -> ClaimedJob | None:
        """From queued to running: the most urgent job, of those the oldest; None if there is nothing to do.

        Any number of daemons may ask at once, each gets another job.

        Args:
            worker: Who runs it: "host" or "host:whatever", see `recover`.
            now: For the record.
        """
        now = now or this_moment()
        query = select(Job).where(Job.state == JobState.QUEUED).order_by(BY_PRIORITY, Job.created_at, Job.id).limit(1)
        with self._database.write() as session:
            job = session.scalar(query.with_for_update(skip_locked=True, key_share=True))
            if job is None:
                return None
            values = {"worker": worker, "attempts": job.attempts + 1, "started_at": now, **_NO_REASON}
            move(session, job, JobState.RUNNING, because="claimed", at=now, values=values, worker=worker)
            return claimed_job(session, job)

    def get(self, job_id: int) -> JobRow:
        """A job as it is now. Raises UnknownJob."""
        with self._database.read() as session:
            return job_record(session, JobRow, find_job(session, job_id))

    def find(self, wanted: JobFilter | None = None) -> list[JobSummary]:
        """Jobs, and studies that have none (yet), latest change first."""
        with self._database.read() as session:
            return summaries(session, wanted or JobFilter())

    def show(self, job_id: int) -> JobDetail:
        """All that is known of a job. Raises UnknownJob."""
        with self._database.read() as session:
            return job_detail(session, find_job(session, job_id))

    def is_running(self, job_id: int) -> bool:
        """Whether a job is still wanted by whoever runs it: not cancelled, not superseded."""
        with self._database.read() as session:
            return session.scalar(select(Job.state).where(Job.id == job_id)) is JobState.RUNNING

    def release(self, job_id: int, why: str, *, now: dt.datetime | None = None) -> None:
        """From running to queued: given back undone, through no fault of its own.

        Raises:
            UnknownJob, IllegalMove.
        """
        with self._database.write() as session:
            move(session, find_job(session, job_id, lock=True), JobState.QUEUED, because=why, at=now, values=_UNCLAIMED)

    def postpone(self, job_id: int, why: str, *, now: dt.datetime | None = None) -> None:
        """From running to queued: it waits for something that is no fault of its own, and the try does not count.

        Raises:
            UnknownJob, IllegalMove.
        """
        with self._database.write() as session:
            job = find_job(session, job_id, lock=True)
            values = _UNCLAIMED | {"reason": plain(why), "attempts": max(0, job.attempts - 1)}
            move(session, job, JobState.QUEUED, because=plain(why), at=now, values=values)

    def worker_lost(self, job_id: int, why: str, *, now: dt.datetime | None = None) -> JobState:
        """The worker died or hung: running -> queued the first time, -> failed the second. Returns the new state.

        Raises:
            UnknownJob, IllegalMove.
        """
        with self._database.write() as session:
            job = find_job(session, job_id, lock=True)
            deaths = job.deaths + 1
            if deaths >= MAX_WORKERS_LOST:
                reason = f"killed its worker twice: {why}"
                _end(session, job, JobState.FAILED, reason, now, code=WORKER_LOST_TWICE, deaths=deaths)
            else:
                values = _UNCLAIMED | {"deaths": deaths}
                move(session, job, JobState.QUEUED, because=f"worker lost: {why}", at=now, values=values)
            return job.state

    def finish(self, job_id: int, outcome: JobOutcome, *, now: dt.datetime | None = None) -> JobState:
        """From running to delivering, with all that it made and found and one delivery for each result and destination.

        Where nothing is to be delivered the job goes on to done. Returns the new state.

        Raises:
            UnknownJob.
            IllegalMove: It was cancelled or superseded while it ran; nothing is written.
        """
        at = now or this_moment()
        with self._database.write() as session:
            job = find_job(session, job_id, lock=True)
            move(session, job, JobState.DELIVERING, because="computed", at=at, values=findings(outcome))
            if not write_outcome(session, job, outcome, at):
                values = {"finished_at": at}
                move(session, job, JobState.DONE, because="nothing to deliver", at=at, values=values)
            return job.state

    def refuse(self, job_id: int, reason: str, *, code: str = REFUSED, now: dt.datetime | None = None) -> None:
        """From running to refused: the data does not suit, and why, in a technologist's words and as a code.

        Raises:
            UnknownJob, IllegalMove.
        """
        with self._database.write() as session:
            _end(session, find_job(session, job_id, lock=True), JobState.REFUSED, reason, now, code=code)

    def fail(self, job_id: int, reason: str, *, code: str = FAILED, now: dt.datetime | None = None) -> None:
        """From queued or running to failed, and why, in words and as a code.

        Raises:
            UnknownJob, IllegalMove.
        """
        with self._database.write() as session:
            _end(session, find_job(session, job_id, lock=True), JobState.FAILED, reason, now, code=code)

    def cancel(self, job_id: int, why: str, *, now: dt.datetime | None = None) -> JobState:
        """From queued, running or delivering to cancelled; what was not sent is not sent any more.

        A job that a destination has all of was no job for nothing: it is done, and its reason says who does not get it.
        Returns the new state.

        Raises:
            UnknownJob, IllegalMove.
        """
        at = now or this_moment()
        with self._database.write() as session:
            job = find_job(session, job_id, lock=True)
            has, lacks = delivered_to(session, job)
            if job.state is JobState.DELIVERING and has and lacks:
                told = f"cancelled for {', '.join(lacks)}; {', '.join(has)} had it already: {why}"
                _end(session, job, JobState.DONE, told, at, code=CANCELLED)
            else:
                _end(session, job, JobState.CANCELLED, why, at, code=CANCELLED)
            cancel_undelivered(session, job, f"job {job.id} was cancelled", at)
            return job.state

    def retry(self, job_id: int, why: str, *, now: dt.datetime | None = None) -> JobState:
        """From failed or refused to queued; to delivering if only sending failed, with what was not accepted.

        Returns the new state.

        Raises:
            UnknownJob, IllegalMove.
        """
        at = now or this_moment()
        with self._database.write() as session:
            job = find_job(session, job_id, lock=True)
            fresh = {**_NO_REASON, "finished_at": None, "deaths": 0}
            if job.state is JobState.FAILED and session.scalar(select(exists().where(Result.job_id == job.id))):
                move(session, job, JobState.DELIVERING, because=why, at=at, values=fresh)
                resume_deliveries(session, job, why, at)
            else:
                move(session, job, JobState.QUEUED, because=why, at=at, values=fresh | _UNCLAIMED)
            return job.state

    def resend(self, job_id: int, why: str, *, destination: str | None = None, now: dt.datetime | None = None) -> int:
        """Sends again what was accepted, to one destination or to all: a done job is delivering again.

        Returns how many results will be sent.

        Raises:
            UnknownJob.
            NothingToResend: The destination has accepted nothing of this job.
            IllegalMove: It is neither done nor being delivered.
        """
        at = now or this_moment()
        with self._database.write() as session:
            job = find_job(session, job_id, lock=True)
            if job.state not in (JobState.DELIVERING, JobState.FAILED):
                move(session, job, JobState.DELIVERING, because=why, at=at, values={"finished_at": None})
            number = resend_deliveries(session, job, destination, why, at)
            if number == 0:
                raise NothingToResend(name=job_id, destination=destination or "any destination")
            return number

    def recover(self, worker: str | None = None, *, now: dt.datetime | None = None) -> Recovered:
        """Takes up what a daemon that died had begun: running jobs go back to the queue, deliveries are tried again.

        That counts as no worker's death. Call it before anything is claimed.

        Args:
            worker: Name of this daemon. On PostgreSQL only what daemons of the same host (the part before the first
                colon) had begun is recovered, as others that share the database may be alive; so a container needs a
                host name that outlives it. An SQLite file has one daemon, whatever it was called before: all is
                recovered. None: all is recovered on PostgreSQL too.
            now: For the record.
        """
        at, why = now or this_moment(), "the daemon was restarted"
        worker = None if self._database.file is not None else worker
        with self._database.write() as session:
            query = select(Job).where(Job.state == JobState.RUNNING, of_host(Job.worker, worker)).order_by(Job.id)
            jobs = session.scalars(query.with_for_update(key_share=True)).all()
            for job in jobs:
                move(session, job, JobState.QUEUED, because=why, at=at, values=_UNCLAIMED)
            return Recovered(tuple(job.id for job in jobs), recover_deliveries(session, worker, why, at))


_NO_REASON: dict[str, Any] = {"reason": None, "reason_code": None}
_UNCLAIMED: dict[str, Any] = {"worker": None, "started_at": None}


def _end(
    session: Session, job: Job, to: JobState, reason: str, now: dt.datetime | None, *, code: str, **values: Any
) -> None:
    at = now or this_moment()
    reason = plain(reason)
    values |= {"reason": reason, "reason_code": code, "finished_at": at}
    move(session, job, to, because=reason, at=at, values=values, code=code)
