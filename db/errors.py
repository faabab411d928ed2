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

The docstring of a class is its message (up to "Attributes:"), filled in with the data that the exception carries.
"""

# ruff: noqa: N818 - the name says what happened and whose fault it is; that it is an error, the tree says

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from db.records import EventRow


@dataclass(eq=False, kw_only=True)
class StoreError(Exception):
    """The job database could not do what was asked."""

    def __str__(self) -> str:
        text = inspect.cleandoc(type(self).__doc__ or type(self).__name__).split("Attributes:")[0]
        return " ".join(text.split()).format_map({**vars(self), "self": self})

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).__new__, (type(self),), vars(self)


class BadRequest(StoreError):
    """The request cannot be met."""


@dataclass(eq=False, kw_only=True)
class IllegalMove(BadRequest):
    """{kind} {name} cannot go from {current} to {to}; {self.story}.

    Attributes:
        kind: "study", "job" or "delivery".
        name: Its UID or number.
        current: State it is in.
        to: State that was asked for.
        history: Every move so far, oldest first.
    """

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
    """The database knows nothing of {name}."""

    name: object


class UnknownStudy(Unknown):
    """There is no study {name} in the database."""


class UnknownSeries(Unknown):
    """There is no image of series {name} in the study."""


class UnknownJob(Unknown):
    """There is no job {name}."""


class UnknownDelivery(Unknown):
    """There is no delivery {name}."""


@dataclass(eq=False, kw_only=True)
class NothingToResend(BadRequest):
    """Nothing of job {name} was accepted by {destination}; what was never sent, `scanward jobs retry` sends."""

    name: object
    destination: str


@dataclass(eq=False, kw_only=True)
class NotServed(BadRequest):
    """Job {job_id} does not go to {destination}; {self.goes_to}.

    Attributes:
        others: Where it goes.
    """

    job_id: int
    destination: str
    others: tuple[str, ...]

    @property
    def goes_to(self) -> str:
        """Where it goes, in words."""
        return f"it goes to {', '.join(self.others)}" if self.others else "it goes nowhere"


@dataclass(eq=False, kw_only=True)
class InputsChanged(BadRequest):
    """The images of study {study_uid} are not those that the job was decided on: more came in meanwhile.

    The study will become complete again; nothing needs to be done.
    """

    study_uid: str


@dataclass(eq=False, kw_only=True)
class NaiveTimestamp(BadRequest):
    """The time {value} has no time zone; the database keeps UTC and will not guess."""

    value: object


@dataclass(eq=False, kw_only=True)
class RowRefused(BadRequest):
    """The database does not take this row: {code}.

    Attributes:
        code: What the database calls the fault; the text that came with it may hold a value.
    """

    code: str


class BadSetting(StoreError):
    """The configuration of the database is at fault."""


@dataclass(eq=False, kw_only=True)
class UnsupportedDatabase(BadSetting):
    """The database {url} is not supported: {reason}. Use sqlite:////path/to/file or postgresql+psycopg://...

    Attributes:
        url: As configured, without the password.
        reason: What is wrong with it.
    """

    url: str
    reason: str


@dataclass(eq=False, kw_only=True)
class OutdatedSchema(BadSetting):
    """The database {url} is at {self.place}, this version needs {head}. Run `scanward db upgrade`.

    Attributes:
        url: Without the password.
        current: Its revision, None if it holds no tables yet.
        head: Revision that this version needs.
    """

    url: str
    current: str | None
    head: str

    @property
    def place(self) -> str:
        """The revision in words."""
        return f"revision {self.current}" if self.current else "no revision (it is empty)"


@dataclass(eq=False, kw_only=True)
class NewerSchema(BadSetting):
    """The database {url} is at revision {current}, which this version does not know (it knows up to {head}).

    A newer Scanward has upgraded it. Install that version again, or restore the backup from before the upgrade.
    """

    url: str
    current: str
    head: str


@dataclass(eq=False, kw_only=True)
class DatabaseInUse(BadSetting):
    """A daemon works on the database {url}: what it writes meanwhile would not be copied. Stop it first."""

    url: str


@dataclass(eq=False, kw_only=True)
class DatabaseNotEmpty(BadSetting):
    """The database {url} holds rows in the table {table}; only into an empty one can be copied."""

    url: str
    table: str


@dataclass(eq=False, kw_only=True)
class CopyDiffers(StoreError):
    """The copy of the table {table} differs from the table ({before} rows, {after} in the copy); nothing was kept."""

    table: str
    before: int
    after: int


@dataclass(eq=False, kw_only=True)
class DatabaseUnavailable(StoreError):
    """The database {url} is not available: {reason}.

    Attributes:
        url: Without the password.
        reason: What the driver said; it carries no values, hence no patient data.
    """

    url: str
    reason: str


@dataclass(eq=False, kw_only=True)
class BrokenMigration(StoreError):
    """The upgrade left rows in {tables} that refer to nothing, and was taken back. This is an error in Scanward."""

    tables: list[str]
