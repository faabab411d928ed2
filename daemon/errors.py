"""What can go wrong in the service itself, by whose fault it is.

    ServiceError
    ├── BadConfiguration        hospital IT must change a file; exit code 2
    ├── NotRunnable             the machine is at fault (another daemon here, port taken, disk read-only); exit code 1
    │   └── WrongDatabase       the database is not that of the data folder
    ├── NoWorkerFree            the free worker is gone meanwhile; the job waits for the next one
    └── WrongUsage              the command line is at fault; exit code 2

What an error's message is made of, see scanward_errors.py.
"""

# ruff: noqa: N818 - the name says what happened; that it is an error, the tree says

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from scanward_errors import ScanwardError


class ServiceError(ScanwardError):
    """Something that a person has to mend; the message says what and how."""

    message: ClassVar[str] = "The service failed."


@dataclass(eq=False, kw_only=True)
class BadConfiguration(ServiceError):
    """A configuration or rule file is wrong.

    Attributes:
        path: The file.
        faults: What is wrong with it, one line each, with file, line and key.
    """

    message: ClassVar[str] = "{lines}"

    path: Path
    faults: tuple[str, ...]

    @property
    def lines(self) -> str:
        """The faults, one below the other."""
        return "\n".join(self.faults)


@dataclass(eq=False, kw_only=True)
class NotRunnable(ServiceError):
    """The daemon, or a command, cannot run here now.

    Attributes:
        reason: What is in the way, and what to do about it.
    """

    message: ClassVar[str] = "{reason}"

    reason: str


class WrongDatabase(NotRunnable):
    """The database and the data folder do not belong together."""


@dataclass(eq=False, kw_only=True)
class NoWorkerFree(ServiceError):
    """No worker is free to run the job."""

    message: ClassVar[str] = "no worker is free for job {job_id} any more"

    job_id: str


@dataclass(eq=False, kw_only=True)
class WrongUsage(ServiceError):
    """The command was called with something that is not there.

    Attributes:
        reason: What is wrong, and what would be right.
    """

    message: ClassVar[str] = "{reason}"

    reason: str
