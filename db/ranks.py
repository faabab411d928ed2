from __future__ import annotations

from sqlalchemy import case

from db.states import Priority
from db.tables import Job

BY_PRIORITY = case({Priority.STAT: 0, Priority.ROUTINE: 1, Priority.LOW: 2}, value=Job.priority)
"""The order in which jobs are taken up, and their results sent."""
