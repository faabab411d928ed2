"""The results on their way to the destinations."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.columns import now as this_moment
from db.connection import Transactions
from db.errors import NotServed, UnknownDelivery
from db.moves import move, note
from db.reasons import NOT_CONFIGURED, code_of_status
from db.records import DeliveryBatch, DestinationRow, DueDelivery
from db.records.mapping import record
from db.states import DeliveryState, JobState
from db.stores.deliveries.destinations import destinations
from db.stores.deliveries.job_state import SERVING, fail_undelivered, outstanding, settle_job
from db.stores.deliveries.of_job import cancel_undelivered
from db.stores.jobs.priority import BY_PRIORITY
from db.stores.jobs.rows import find_job
from db.tables import Delivery, Job, Result, Study
from db.tags import plain


class DeliveryStore:
    """The way of the results: one row per result and destination, kept until the destination has it.

    Every answer is written down as it comes, so that neither a retry nor a restart sends what was accepted again.
    """

    def __init__(self, database: Transactions) -> None:
        self._database = database

    def due(self, now: dt.datetime, limit: int = 100, destination: str | None = None) -> list[DeliveryBatch]:
        """What may be sent now, one batch per job and destination, the most urgent jobs first.

        Args:
            now: Deliveries whose next attempt is later are left out.
            limit: Number of results in all batches together.
            destination: Only for this one.
        """
        query = select(Delivery, Result, Study.study_instance_uid)
        query = query.join(Result, Result.id == Delivery.result_id).join(Job, Job.id == Delivery.job_id)
        query = query.join(Study, Study.id == Job.study_id)
        query = query.where(Delivery.state == DeliveryState.PENDING, Delivery.next_attempt_at <= now)
        query = query.where(Job.state.in_(SERVING)).order_by(BY_PRIORITY, Job.id, Delivery.destination, Delivery.id)
        if destination is not None:
            query = query.where(Delivery.destination == destination)
        with self._database.read() as session:
            return _batches(session.execute(query.limit(limit)).all())

    def start(
        self, ids: Sequence[int], worker: str | None = None, *, now: dt.datetime | None = None
    ) -> tuple[int, ...]:
        """From pending to sending; returns those that are ours to send now (another sender may have been quicker).

        Args:
            ids: Deliveries that were due.
            worker: Name of this daemon, see `recover_after_restart`.
            now: For the record.
        """
        at = now or this_moment()
        query = select(Delivery).join(Job, Job.id == Delivery.job_id).order_by(Delivery.id)
        query = query.where(Delivery.id.in_(ids), Delivery.state == DeliveryState.PENDING, Job.state.in_(SERVING))
        with self._database.write() as session:
            # With its job, so that nobody cancels it in between; what others hold just now is for the next round.
            rows = session.scalars(query.with_for_update(skip_locked=True, key_share=True, of=[Delivery, Job])).all()
            for row in rows:
                values = {"attempts": row.attempts + 1, "worker": worker, "sent_at": at}
                move(session, row, DeliveryState.SENDING, because="due", at=at, values=values, attempt=row.attempts + 1)
            return tuple(row.id for row in rows)

    def accept(self, delivery_id: int, status: int, remark: str = "", *, now: dt.datetime | None = None) -> JobState:
        """From sending to accepted; with the last one the job is done. Returns the state of the job.

        What else waits for that destination is due at once: it answers again, and nobody has to sit out a pause.

        Args:
            delivery_id: Of the result that the destination has taken.
            status: DICOM status that it answered: 0x0000, a warning (0xBxxx), or that it has it already (0x0111).
            remark: What that status says, for the history.
            now: For the record.

        Raises:
            UnknownDelivery, IllegalMove.
        """
        at = now or this_moment()
        with self._database.write() as session:
            delivery, job = _find(session, delivery_id)
            values = {"status": status, "accepted_at": at, "last_error": None, "reason_code": None}
            because = f"accepted: {plain(remark)}" if remark else "accepted"
            move(session, delivery, DeliveryState.ACCEPTED, because=because, at=at, values=values, status=status)
            _wake(session, delivery.destination, at)
            if job.state is JobState.DELIVERING and not outstanding(session, job):
                values = {"finished_at": at, "reason": None, "reason_code": None}
                move(session, job, JobState.DONE, because="everything was accepted", at=at, values=values)
            return job.state

    def release(self, delivery_id: int, why: str, *, now: dt.datetime | None = None) -> None:
        """From sending to pending, through nobody's fault: due at once, and the try does not count.

        Raises:
            UnknownDelivery, IllegalMove.
        """
        at = now or this_moment()
        with self._database.write() as session:
            delivery, job = _find(session, delivery_id)
            values = {"next_attempt_at": at, "worker": None, "attempts": max(0, delivery.attempts - 1)}
            to = _wanted(delivery, job, DeliveryState.PENDING)
            move(session, delivery, to, because=why, at=at, values=values)
            settle_job(session, job, why, at)

    def retry(
        self,
        delivery_id: int,
        error: str,
        next_attempt_at: dt.datetime,
        status: int | None = None,
        *,
        code: str = "",
        now: dt.datetime | None = None,
    ) -> None:
        """From sending to pending, to be tried again; cancelled if its job was given up meanwhile.

        Raises:
            UnknownDelivery, IllegalMove.
        """
        at = now or this_moment()
        with self._database.write() as session:
            delivery, job = _find(session, delivery_id)
            told = _told(error, status, code)
            values = told | {"next_attempt_at": next_attempt_at}
            to = _wanted(delivery, job, DeliveryState.PENDING)
            move(session, delivery, to, because=told["last_error"], at=at, values=values, status=status)
            settle_job(session, job, told["last_error"], at)

    def fail(
        self,
        delivery_id: int,
        error: str,
        status: int | None = None,
        *,
        code: str = "",
        now: dt.datetime | None = None,
    ) -> JobState:
        """From sending to failed: refused for good, or tried often enough. The job fails with it, and says so at once.

        What is still to be sent of the job, to other destinations too, goes on being sent. Returns the job's state.

        Raises:
            UnknownDelivery, IllegalMove.
        """
        at = now or this_moment()
        with self._database.write() as session:
            delivery, job = _find(session, delivery_id)
            to = _wanted(delivery, job, DeliveryState.FAILED)
            told = _told(error, status, code)
            move(session, delivery, to, because=told["last_error"], at=at, values=told, status=status)
            settle_job(session, job, told["last_error"], at)
            return job.state

    def fail_unconfigured(self, known: Collection[str], *, now: dt.datetime | None = None) -> tuple[int, ...]:
        """From pending to failed: what waits for destinations that are in the configuration no longer, and its jobs.

        Returns the jobs.
        """
        at = now or this_moment()
        waiting = (Delivery.state == DeliveryState.PENDING, Delivery.destination.not_in(known), Job.state.in_(SERVING))
        query = select(Job.id).join(Delivery, Delivery.job_id == Job.id).where(*waiting).distinct().order_by(Job.id)
        with self._database.read() as session:
            found = session.scalars(query).all()
        for job_id in found:
            with self._database.write() as session:
                job = find_job(session, job_id, lock=True)
                _fail_unconfigured(session, job, known, at)
        return tuple(found)

    def drop_destination(self, job_id: int, name: str, why: str, *, now: dt.datetime | None = None) -> JobState:
        """One destination gets nothing more of a job: what it has not accepted is cancelled. Returns the job's state.

        With nothing left to deliver the job is done; where only this destination had failed it is delivering again.

        Raises:
            UnknownJob.
            NotServed: The job does not go there.
        """
        at = now or this_moment()
        with self._database.write() as session:
            job = find_job(session, job_id, lock=True)
            if name not in job.send_to:
                raise NotServed(job_id=job_id, destination=name, others=tuple(job.send_to))
            others = [one for one in job.send_to if one != name]
            session.execute(update(Job).where(Job.id == job.id).values(send_to=others, updated_at=at))
            cancel_undelivered(session, job, f"{name} was dropped: {plain(why)}", at, destination=name)
            note(session, job, "destination dropped", because=plain(why), at=at, destination=name)
            settle_job(session, job, f"{name} was dropped", at)
            return job.state

    def destinations(self) -> list[DestinationRow]:
        """How far deliveries to each destination are, by name; those that nothing was ever sent to are not there."""
        with self._database.read() as session:
            return destinations(session)


def _wake(session: Session, destination: str, at: dt.datetime) -> None:
    waiting = select(Delivery.id).where(
        Delivery.destination == destination, Delivery.state == DeliveryState.PENDING, Delivery.next_attempt_at > at
    )
    # What another sender holds just now settles itself; waiting for it could be waiting for each other.
    waiting = waiting.with_for_update(skip_locked=True)
    session.execute(update(Delivery).where(Delivery.id.in_(waiting)).values(next_attempt_at=at))


def _told(error: str, status: int | None, code: str) -> dict[str, Any]:
    """The columns that say why a delivery did not succeed; without a code of its own, the status is the code."""
    why = {"last_error": plain(error), "reason_code": code or code_of_status(status)}
    return why | {"status": status, "worker": None}


def _batches(rows: Iterable[Any]) -> list[DeliveryBatch]:
    batches: dict[tuple[str, int, str], list[DueDelivery]] = {}
    for delivery, result, study_uid in rows:
        item = record(DueDelivery, result, id=delivery.id, attempts=delivery.attempts)
        batches.setdefault((delivery.destination, delivery.job_id, study_uid), []).append(item)
    return [DeliveryBatch(*key, items=tuple(items)) for key, items in batches.items()]


def _find(session: Session, delivery_id: int) -> tuple[Delivery, Job]:
    """A delivery, with its job locked first: of two that settle the last deliveries, the second must see the first."""
    job_id = session.scalar(select(Delivery.job_id).where(Delivery.id == delivery_id))
    if job_id is None:
        raise UnknownDelivery(name=delivery_id)
    job = find_job(session, job_id, lock=True)
    return session.get_one(Delivery, delivery_id), job


def _wanted(delivery: Delivery, job: Job, to: DeliveryState) -> DeliveryState:
    """The state that a delivery goes to; cancelled, if its job or its destination was given up while it was sent."""
    return to if job.state in SERVING and delivery.destination in job.send_to else DeliveryState.CANCELLED


def _fail_unconfigured(session: Session, job: Job, known: Collection[str], at: dt.datetime) -> None:
    query = select(Delivery).where(Delivery.job_id == job.id, Delivery.state == DeliveryState.PENDING)
    for delivery in session.scalars(query.where(Delivery.destination.not_in(known)).order_by(Delivery.id)).all():
        error = f"{delivery.destination} is not among the configured destinations any more"
        values = {"last_error": error, "status": None, "reason_code": NOT_CONFIGURED}
        move(session, delivery, DeliveryState.FAILED, because=error, at=at, values=values)
    fail_undelivered(session, job, at)
