"""How many studies, jobs and deliveries there are, by state and by reason."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.records import Counts
from db.states import NEED_A_PERSON, DeliveryState, JobState, StudyState
from db.tables import Delivery, Job, Study

S = TypeVar("S", StudyState, JobState, DeliveryState)


def counts(session: Session) -> Counts:
    """How many there are in each state."""
    return Counts(
        studies=_count(session, Study.state, StudyState),
        jobs=_count(session, Job.state, JobState),
        deliveries=_count(session, Delivery.state, DeliveryState),
    )


def _count(session: Session, column: InstrumentedAttribute[S], states: type[S]) -> dict[S, int]:
    found: dict[S, int] = dict(iter(session.execute(select(column, func.count()).group_by(column))))
    return {state: found.get(state, 0) for state in states}


def reasons(session: Session) -> dict[JobState | StudyState, dict[str, int]]:
    """How many jobs and studies wait for a person, by state and code of the reason."""
    found: dict[JobState | StudyState, dict[str, int]] = {}
    jobs = select(Job.state, Job.reason_code, func.count()).where(Job.state.in_(NEED_A_PERSON))
    for state, code, number in session.execute(jobs.group_by(Job.state, Job.reason_code)):
        found.setdefault(state, {})[code or ""] = number
    studies = select(Study.reason_code, func.count()).where(Study.state == StudyState.UNMATCHED)
    for code, number in session.execute(studies.group_by(Study.reason_code)):
        found.setdefault(StudyState.UNMATCHED, {})[code or ""] = number
    return found
