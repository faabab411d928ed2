"""What can go wrong with the job database, by whose fault it is.

    StoreError
    ├── BadRequest                  the caller asked for something that cannot be; asking again gives the same
    │   ├── IllegalMove             carries the history; often another hand was quicker (a job cancelled while it ran)
    │   ├── Unknown                 no such row
    │   │   ├── UnknownStudy
    │   │   ├── UnknownSeries
    │   │   ├── UnknownJob
    │   │   └── UnknownDelivery
    │   ├── NothingToResend
    │   ├── NotServed               a job does not go to that destination
    │   ├── InputsChanged           images came in between the decision and the job
    │   ├── RowRefused              a value that the database does not take; other rows it would take
    │   └── NaiveTimestamp
    ├── BadSetting                  an administrator has to do something
    │   ├── UnsupportedDatabase
    │   ├── OutdatedSchema
    │   ├── NewerSchema
    │   ├── DatabaseInUse
    │   └── DatabaseNotEmpty
    ├── DatabaseUnavailable         unreachable, locked, disk full: worth another try
    ├── CopyDiffers                 a copy reads otherwise than what was copied; nothing was kept
    └── BrokenMigration             our bug; nothing was changed

What an error's message is made of, see scanward_errors.py.
"""

# ruff: noqa: N818 - the name says what happened and whose fault it is; that it is an error, the tree says

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from scanward_errors import ScanwardError

if TYPE_CHECKING:
    from db.records import EventRow


@dataclass(eq=False, kw_only=True)
class StoreError(ScanwardError):
    """The job database could not do what was asked."""

    message: ClassVar[str] = "The job database could not do what was asked."


class BadRequest(StoreError):
    """The caller asked for something that cannot be. Asking again gives the same."""

    message: ClassVar[str] = "The request cannot be met."


@dataclass(eq=False, kw_only=True)
class IllegalMove(BadRequest):
    """A study, job or delivery cannot go from its state to the one asked for; often somebody else was quicker.

    Attributes:
        kind: "study", "job" or "delivery".
        name: Its UID or number.
        current: State it is in.
        to: State that was asked for.
        history: Every move so far, oldest first.
    """

    message: ClassVar[str] = "{kind} {name} cannot go from {current} to {to}; {story}."

    kind: str
    name: str
    current: str
    to: str
    history: tuple[EventRow, ...]

    @property
    def story(self) -> str:
        """The history as one line."""
        moves = "; ".join(f"{event.event} ({event.because})" for event in self.history)
        return f"so far: {moves}" if moves else "nothing has happened to it so far"


@dataclass(eq=False, kw_only=True)
class Unknown(BadRequest):
    """There is no such row."""

    message: ClassVar[str] = "There is no {name} in the database."

    name: object


class UnknownStudy(Unknown):
    """There is no such study."""

    message: ClassVar[str] = "There is no study {name} in the database."


class UnknownSeries(Unknown):
    """There is no such series in a study."""

    message: ClassVar[str] = "There is no image of series {name} in the study."


class UnknownJob(Unknown):
    """There is no such job."""

    message: ClassVar[str] = "There is no job {name}."


class UnknownDelivery(Unknown):
    """There is no such delivery."""

    message: ClassVar[str] = "There is no delivery {name}."


@dataclass(eq=False, kw_only=True)
class NothingToResend(BadRequest):
    """A destination has accepted none of a job's results, so there is nothing to send a second time."""

    message: ClassVar[str] = (
        "{destination} has accepted no result of job {name}, so there is nothing to send again. "
        "`scanward jobs retry` sends what was never sent."
    )

    name: object
    destination: str


@dataclass(eq=False, kw_only=True)
class NotServed(BadRequest):
    """A job has no delivery to that destination.

    Attributes:
        others: Where it goes.
    """

    message: ClassVar[str] = "Job {job_id} does not go to {destination}; {goes_to}."

    job_id: int
    destination: str
    others: tuple[str, ...]

    @property
    def goes_to(self) -> str:
        """Where it goes, in words."""
        return f"it goes to {', '.join(self.others)}" if self.others else "it goes nowhere"


@dataclass(eq=False, kw_only=True)
class InputsChanged(BadRequest):
    """Images came in between the decision and the job."""

    message: ClassVar[str] = (
        "More images of study {study_uid} arrived after this job was decided on. "
        "The study will be processed again once it is complete; nothing needs to be done."
    )

    study_uid: str


@dataclass(eq=False, kw_only=True)
class NaiveTimestamp(BadRequest):
    """A time without a time zone."""

    message: ClassVar[str] = "The time {value} has no time zone. The database keeps times in UTC."

    value: object


@dataclass(eq=False, kw_only=True)
class RowRefused(BadRequest):
    """A value that the database does not take; other rows it would take.

    Attributes:
        code: What the database calls the fault; the text that came with it may hold a value.
    """

    message: ClassVar[str] = "The database rejects this row: {code}."

    code: str


class BadSetting(StoreError):
    """The database that is configured cannot be used as it is; an administrator has to act."""

    message: ClassVar[str] = "The configuration of the database is at fault."


@dataclass(eq=False, kw_only=True)
class UnsupportedDatabase(BadSetting):
    """The URL is of a database, or has options, that we do not serve.

    Attributes:
        url: As configured, without the password.
        reason: What is wrong with it.
    """

    message: ClassVar[str] = (
        "The database {url} is not supported: {reason}. Use sqlite:////path/to/file or postgresql+psycopg://..."
    )

    url: str
    reason: str


@dataclass(eq=False, kw_only=True)
class OutdatedSchema(BadSetting):
    """The tables are older than this version needs.

    Attributes:
        url: Without the password.
        current: Its revision, None if it holds no tables yet.
        head: Revision that this version needs.
    """

    message: ClassVar[str] = "The database {url} is at {place}, this version needs {head}. Run `scanward db upgrade`."

    url: str
    current: str | None
    head: str

    @property
    def place(self) -> str:
        """The revision in words."""
        return f"revision {self.current}" if self.current else "no revision (it is empty)"


@dataclass(eq=False, kw_only=True)
class NewerSchema(BadSetting):
    """The tables are newer than this version."""

    message: ClassVar[str] = (
        "The database {url} is at revision {current}, which this version does not know (it knows up to {head}). "
        "A newer Scanward has upgraded it. Install that version again, or restore the backup from before the upgrade."
    )

    url: str
    current: str
    head: str


@dataclass(eq=False, kw_only=True)
class DatabaseInUse(BadSetting):
    """A daemon works on a database that was to be copied."""

    message: ClassVar[str] = (
        "A daemon is using the database {url}; what it writes during the copy would be lost. Stop it first."
    )

    url: str


@dataclass(eq=False, kw_only=True)
class DatabaseNotEmpty(BadSetting):
    """A database that was to be copied into holds rows already."""

    message: ClassVar[str] = "The database {url} already holds rows in table {table}. A copy needs an empty database."

    url: str
    table: str


@dataclass(eq=False, kw_only=True)
class CopyDiffers(StoreError):
    """A copy reads otherwise than what was copied."""

    message: ClassVar[str] = (
        "The copy of table {table} differs from the original ({before} rows in the original, "
        "{after} in the copy) and was discarded."
    )

    table: str
    before: int
    after: int


@dataclass(eq=False, kw_only=True)
class DatabaseUnavailable(StoreError):
    """The database cannot be reached, is locked, or its disk is full. It is worth another try.

    Attributes:
        url: Without the password.
        reason: What the driver said; it carries no values, hence no patient data.
    """

    message: ClassVar[str] = "The database {url} is not available: {reason}."

    url: str
    reason: str


@dataclass(eq=False, kw_only=True)
class BrokenMigration(StoreError):
    """An upgrade of the schema left rows that refer to nothing: our bug."""

    message: ClassVar[str] = (
        "The upgrade left rows in {names} that refer to rows that do not exist, and was rolled back. "
        "This is a bug in Scanward."
    )

    tables: list[str]

    @property
    def names(self) -> str:
        """The tables as text."""
        return ", ".join(self.tables)
