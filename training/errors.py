"""What can go wrong in training and around it.

    ScanwardError
    └── UnfitError              what was asked does not fit the package, the run or the data

What an error's message is made of, see scanward_errors.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanward_errors import ScanwardError


@dataclass(eq=False, kw_only=True)
class UnfitError(ScanwardError):
    """What was asked does not fit the package, the run or the data.

    Attributes:
        reason: What does not fit what.
    """

    message: ClassVar[str] = "{reason}"

    reason: str
