"""Which job goes first."""

from __future__ import annotations

from sqlalchemy import case

from db.states import Priority
from db.tables import Job

RANKS = {Priority.STAT: 0, Priority.ROUTINE: 1, Priority.LOW: 2}

BY_PRIORITY = case(RANKS, value=Job.priority)
"""The order in which jobs are taken up, and their results sent."""


def more_urgent(one: Priority, other: Priority) -> Priority:
    """The one of two priorities that goes first."""
    return min(one, other, key=RANKS.__getitem__)
