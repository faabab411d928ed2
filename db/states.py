"""The states, and the one table that says which moves between them there are.

study      receiving -> complete -> routed | unmatched        late images lead back to receiving

job        queued -> running -> delivering -> done
              ^         ├-> refused (the data does not suit)  ┐  an operator's retry leads back to queued, or
              └─────────┴-> failed                            ┘  to delivering where only the sending had failed
           anything not yet cancelled may be superseded by a job over newer images or with other models

delivery   pending -> sending -> accepted                     one row per result and destination
              ^         ├-> failed (for good; an operator's retry leads back to pending)
              └─────────┘   an operator's resend leads from accepted back to pending
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class StudyState(StrEnum):
    """How far a study has come on its way to the rules."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    ROUTED = "routed"
    UNMATCHED = "unmatched"


class LossKind(StrEnum):
    """How an image that came, or was coming, got lost to its study."""

    QUARANTINED = "quarantined"
    CUT_OFF = "cut off"
    NOT_FINISHED = "not finished"
    REFUSED = "refused"
    CONFLICTING = "conflicting"


class JobState(StrEnum):
    """How far a job has come on its way to the PACS."""

    QUEUED = "queued"
    RUNNING = "running"
    DELIVERING = "delivering"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


class DeliveryState(StrEnum):
    """How far one result has come on its way to one destination."""

    PENDING = "pending"
    SENDING = "sending"
    ACCEPTED = "accepted"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    """Which job goes first."""

    STAT = "stat"
    ROUTINE = "routine"
    LOW = "low"


class Origin(StrEnum):
    """How an image came in."""

    LISTENER = "listener"
    WATCHER = "watcher"
    CLI = "cli"


class AssociationEnd(StrEnum):
    """How an association ended: as agreed, aborted by either side, or with the connection."""

    RELEASED = "released"
    ABORTED = "aborted"
    LOST = "lost"


class ResultKind(StrEnum):
    """What a result is."""

    SEGMENTATION = "segmentation"
    REPORT = "report"
    KEY_IMAGE = "key-image"
    OVERLAY = "overlay"


State = StudyState | JobState | DeliveryState

NEED_A_PERSON = (JobState.FAILED, JobState.REFUSED)
"""Jobs that go no further by themselves."""

OUTSTANDING = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.FAILED)
"""Deliveries that have neither been accepted nor given up."""

MOVES: Mapping[type[State], Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        StudyState: {
            StudyState.RECEIVING: frozenset({StudyState.COMPLETE}),
            StudyState.COMPLETE: frozenset({StudyState.ROUTED, StudyState.UNMATCHED, StudyState.RECEIVING}),
            # Back to complete: the rules have changed, and somebody wants to know what they say now.
            StudyState.ROUTED: frozenset({StudyState.RECEIVING, StudyState.COMPLETE}),
            StudyState.UNMATCHED: frozenset({StudyState.RECEIVING, StudyState.COMPLETE}),
        },
        JobState: {
            JobState.QUEUED: frozenset({JobState.RUNNING, JobState.FAILED, JobState.CANCELLED, JobState.SUPERSEDED}),
            JobState.RUNNING: frozenset(
                {
                    JobState.DELIVERING,
                    JobState.QUEUED,
                    JobState.REFUSED,
                    JobState.FAILED,
                    JobState.CANCELLED,
                    JobState.SUPERSEDED,
                }
            ),
            JobState.DELIVERING: frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.SUPERSEDED}),
            # Back to delivering: somebody else is to have the results too.
            JobState.DONE: frozenset({JobState.DELIVERING, JobState.SUPERSEDED}),
            JobState.REFUSED: frozenset({JobState.QUEUED, JobState.SUPERSEDED}),
            # Back to delivering: what was computed is there, only a destination would not take it. To done: that
            # destination was dropped, and the others have everything.
            JobState.FAILED: frozenset({JobState.QUEUED, JobState.DELIVERING, JobState.DONE, JobState.SUPERSEDED}),
            JobState.CANCELLED: frozenset(),
            JobState.SUPERSEDED: frozenset(),
        },
        DeliveryState: {
            # To failed: its destination was taken out of the configuration.
            DeliveryState.PENDING: frozenset({DeliveryState.SENDING, DeliveryState.FAILED, DeliveryState.CANCELLED}),
            DeliveryState.SENDING: frozenset(
                {DeliveryState.ACCEPTED, DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.CANCELLED}
            ),
            DeliveryState.FAILED: frozenset({DeliveryState.PENDING, DeliveryState.CANCELLED}),
            # Back to pending: the PACS has lost it, and somebody asks for it once more.
            DeliveryState.ACCEPTED: frozenset({DeliveryState.PENDING}),
            DeliveryState.CANCELLED: frozenset(),
        },
    }
)


def may_move(old: State, new: State) -> bool:
    """Whether the table has a move from one state to the other."""
    return new in MOVES[type(old)][old]
