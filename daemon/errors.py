"""What can go wrong in the service itself, by whose fault it is.

ScanwardError
├── BadConfiguration        hospital IT must change a file; exit code 2
├── NotRunnable             the machine is at fault (another daemon runs here, port taken, disk read-only); exit code 1
│   └── WrongDatabase       the database is not that of the data folder
├── NoWorkerFree            the free worker is gone meanwhile; the job waits for the next one
└── WrongUsage              the command line is at fault; exit code 2
"""

# ruff: noqa: N818 - the name says what happened; that it is an error, the tree says

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class ScanwardError(Exception):
    """Something that a person has to mend; the message says what and how."""


@dataclass(eq=False)
class BadConfiguration(ScanwardError):
    """A configuration or rule file is wrong; `faults` name file, line and key."""

    path: Path
    faults: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.faults)


class NotRunnable(ScanwardError):
    """The daemon cannot run here now."""


class WrongDatabase(NotRunnable):
    """The database and the data folder do not belong together."""


class NoWorkerFree(ScanwardError):
    """No worker is free to run the job."""


class WrongUsage(ScanwardError):
    """The command was called with something that is not there."""
