from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, true, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.columns import now as this_moment
from db.connection import Transactions
from db.errors import UnknownDelivery
from db.jobrows import find_job
from db.moves import move
from db.ranks import BY_PRIORITY
from db.reasons import NOT_DELIVERED, code_of_status
from db.records import DeliveryBatch, DueDelivery
from db.states import DeliveryState, JobState
from db.tables import Delivery, Job, Result, Study
from db.tags import plain

# Where one destination has refused for good the job has failed, but the others still get what they are to get.
_SERVING = (JobState.DELIVERING, JobState.FAILED)


class Outbox(Transactions):
    """The way of the results: one row per result and destination, kept until the destination has it.

    Every answer is written down as it comes, so that neither a retry nor a restart sends what was accepted again.
    """

    def due_deliveries(self, now: dt.datetime, limit: int = 100, destination: str | None = None) -> list[DeliveryBatch]:
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
        query = query.where(Job.state.in_(_SERVING)).order_by(BY_PRIORITY, Job.id, Delivery.destination, Delivery.id)
        if destination is not None:
            query = query.where(Delivery.destination == destination)
        with self.read() as session:
            return _batches(session.execute(query.limit(limit)).all())

    def start_delivery(
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
        query = query.where(Delivery.id.in_(ids), Delivery.state == DeliveryState.PENDING, Job.state.in_(_SERVING))
        with self.write() as session:
            # With its job, so that nobody cancels it in between; what others hold just now is for the next round.
            rows = session.scalars(query.with_for_update(skip_locked=True, key_share=True, of=[Delivery, Job])).all()
            for row in rows:
                values = {"attempts": row.attempts + 1, "worker": worker, "sent_at": at}
                move(session, row, DeliveryState.SENDING, because="due", at=at, values=values, attempt=row.attempts + 1)
            return tuple(row.id for row in rows)

    def delivery_accepted(self, delivery_id: int, status: int, *, now: dt.datetime | None = None) -> JobState:
        """From sending to accepted; with the last one the job is done. Returns the state of the job.

        What else waits for that destination is due at once: it answers again, and nobody has to sit out a pause.

        Args:
            delivery_id: Of the result that the destination has taken.
            status: DICOM status that it answered: 0x0000, or a warning (0xBxxx).
            now: For the record.

        Raises:
            UnknownDelivery, IllegalMove.
        """
        at = now or this_moment()
        with self.write() as session:
            delivery, job = _find(session, delivery_id)
            values = {"status": status, "accepted_at": at, "last_error": None, "reason_code": None}
            move(session, delivery, DeliveryState.ACCEPTED, because="accepted", at=at, values=values, status=status)
            _wake(session, delivery.destination, at)
            if job.state is JobState.DELIVERING and not _left(session, job):
                values = {"finished_at": at, "reason": None, "reason_code": None}
                move(session, job, JobState.DONE, because="everything was accepted", at=at, values=values)
            return job.state

    def delivery_retry(
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
        with self.write() as session:
            delivery, job = _find(session, delivery_id)
            to = DeliveryState.PENDING if job.state in _SERVING else DeliveryState.CANCELLED
            told = _told(error, status, code)
            values = told | {"next_attempt_at": next_attempt_at}
            move(session, delivery, to, because=told["last_error"], at=now, values=values, status=status)

    def delivery_failed(
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
        with self.write() as session:
            delivery, job = _find(session, delivery_id)
            to = DeliveryState.FAILED if job.state in _SERVING else DeliveryState.CANCELLED
            told = _told(error, status, code)
            move(session, delivery, to, because=told["last_error"], at=at, values=told, status=status)
            reason = _undelivered(session, job)
            if job.state is JobState.DELIVERING:
                values = {"reason": reason, "reason_code": NOT_DELIVERED, "finished_at": at}
                move(session, job, JobState.FAILED, because=reason, at=at, values=values, code=NOT_DELIVERED)
            elif job.state is JobState.FAILED:
                session.execute(update(Job).where(Job.id == job.id).values(reason=reason))
            return job.state


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
        item = DueDelivery(
            id=delivery.id,
            path=result.path,
            sop_class_uid=result.sop_class_uid,
            sop_instance_uid=result.sop_instance_uid,
            attempts=delivery.attempts,
        )
        batches.setdefault((delivery.destination, delivery.job_id, study_uid), []).append(item)
    return [DeliveryBatch(*key, items=tuple(items)) for key, items in batches.items()]


def _find(session: Session, delivery_id: int) -> tuple[Delivery, Job]:
    """A delivery, with its job locked first: of two that settle the last deliveries, the second must see the first."""
    job_id = session.scalar(select(Delivery.job_id).where(Delivery.id == delivery_id))
    if job_id is None:
        raise UnknownDelivery(name=delivery_id)
    job = find_job(session, job_id, lock=True)
    return session.get_one(Delivery, delivery_id), job


def _left(session: Session, job: Job) -> int:
    open_states = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.FAILED)
    query = select(func.count()).where(Delivery.job_id == job.id, Delivery.state.in_(open_states))
    return session.scalar(query) or 0


def _undelivered(session: Session, job: Job) -> str:
    """What could not be delivered, per destination, with the last error of each."""
    query = select(Delivery.destination, Delivery.last_error)
    query = query.where(Delivery.job_id == job.id, Delivery.state == DeliveryState.FAILED).order_by(Delivery.id)
    errors: dict[str, list[str | None]] = {}
    for destination, error in session.execute(query):
        errors.setdefault(destination, []).append(error)
    told = (f"{name} did not take {len(found)} of the results: {found[-1]}" for name, found in errors.items())
    return "; ".join(told)


def of_host(column: InstrumentedAttribute[str | None], worker: str | None) -> ColumnElement[bool]:
    """Whether the daemon that a row names runs on the same host as this one; of any host if None."""
    if worker is None:
        return true()
    host = worker.partition(":")[0]
    return or_(column == host, column.startswith(f"{host}:", autoescape=True))


def resume_deliveries(session: Session, job: Job, why: str, at: dt.datetime) -> None:
    """What a destination has refused is sent again, from the first try on; what was accepted is not."""
    query = select(Delivery).where(Delivery.job_id == job.id, Delivery.state == DeliveryState.FAILED)
    for delivery in session.scalars(query.order_by(Delivery.id)).all():
        values = {"next_attempt_at": at, "attempts": 0}
        move(session, delivery, DeliveryState.PENDING, because=why, at=at, values=values)


def resend_deliveries(session: Session, job: Job, destination: str | None, why: str, at: dt.datetime) -> int:
    """What was accepted is sent once more, to one destination or to all; returns how many results that are."""
    query = select(Delivery).where(Delivery.job_id == job.id, Delivery.state == DeliveryState.ACCEPTED)
    if destination is not None:
        query = query.where(Delivery.destination == destination)
    deliveries = session.scalars(query.order_by(Delivery.id)).all()
    for delivery in deliveries:
        values = {"next_attempt_at": at, "attempts": 0, "accepted_at": None}
        move(session, delivery, DeliveryState.PENDING, because=why, at=at, values=values)
    return len(deliveries)


def recover_deliveries(session: Session, worker: str | None, why: str, at: dt.datetime) -> tuple[int, ...]:
    """What a daemon was sending when it died is sent again: nobody wrote down whether it was accepted."""
    mine = or_(Delivery.worker.is_(None), of_host(Delivery.worker, worker))
    query = select(Delivery, Job).join(Job, Job.id == Delivery.job_id)
    query = query.where(Delivery.state == DeliveryState.SENDING, mine).order_by(Delivery.id)
    pairs = session.execute(query.with_for_update(key_share=True, of=[Delivery, Job])).all()
    for delivery, job in pairs:
        wanted = job.state in (JobState.DELIVERING, JobState.FAILED)
        to = DeliveryState.PENDING if wanted else DeliveryState.CANCELLED
        move(session, delivery, to, because=why, at=at, values={"next_attempt_at": at, "worker": None})
    return tuple(delivery.id for delivery, _ in pairs)
