"""Codes of reasons: what the words of a refusal or a failure are counted by.

A code is an error's class name in lower case ("uneven-spacing"), or one of these. Words may change, codes stay.
"""

from __future__ import annotations

import re

NO_RULE = "no-rule"
NOT_ROUTABLE = "not-routable"
REFUSED = "refused"
FAILED = "failed"
CANCELLED = "cancelled"
WORKER_LOST_TWICE = "worker-lost-twice"
RESULTS_UNUSABLE = "results-unusable"
NOT_DELIVERED = "not-delivered"
NOT_CONFIGURED = "not-configured"
NO_ANSWER = "no-answer"

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def code_named(kind: str) -> str:
    """The code of an error whose class is called so: `UnevenSpacing` is "uneven-spacing"."""
    return _HUMP.sub("-", kind).lower()


def code_of(error: BaseException) -> str:
    """The code of an error."""
    return code_named(type(error).__name__)


def code_of_status(status: int | None) -> str:
    """The code of a DICOM status that a destination answered, or of no answer."""
    return NO_ANSWER if status is None else f"status-{status:04x}"
