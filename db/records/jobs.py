"""Jobs, their outcomes, and the deliveries of their results."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from db.records.studies import LossRow
from db.states import JobState, Priority, ResultKind


@dataclass(frozen=True, kw_only=True)
class JobOrder:
    """A job to be made.

    Attributes:
        roles: Role to Series Instance UID.
        model_digest: Of all models that the pipeline would use now.
        send_to: Names of destinations.
        inputs_digest: Of the images that the caller decided on; if others are there by now, no job is made.
    """

    rule: str
    pipeline: str
    roles: Mapping[str, str]
    model_digest: str
    send_to: tuple[str, ...] = ()
    priority: Priority = Priority.ROUTINE
    inputs_digest: str | None = None


@dataclass(frozen=True)
class ResultFormat:
    """What a destination takes of the results.

    Attributes:
        encoding: The form of segmentation that it takes; a report belongs to one form, as it refers to it.
        key_images: Whether it takes key images.
    """

    encoding: str
    key_images: bool = True

    def takes(self, kind: ResultKind, encoding: str) -> bool:
        """Whether a result of that kind and form is for it; pictures are for the console alone."""
        if kind is ResultKind.OVERLAY:
            return False
        return self.key_images if kind is ResultKind.KEY_IMAGE else encoding in ("", self.encoding)


@dataclass(frozen=True)
class Created:
    """A new job; `superseded` are the older jobs that it takes the place of (stop them if they run)."""

    job_id: int
    superseded: tuple[int, ...] = ()


@dataclass(frozen=True)
class AlreadyExists:
    """The same images were given to the same pipeline and models before.

    Attributes:
        job_id: The job that did or will do the work.
        state: Its state.
        added: Destinations that it had not served, and that it serves from now on.
    """

    job_id: int
    state: JobState
    added: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputFile:
    """One image that a job works on."""

    sop_instance_uid: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A job."""

    id: int
    study_uid: str
    state: JobState
    rule: str
    pipeline: str
    priority: Priority
    roles: Mapping[str, str]
    send_to: tuple[str, ...]
    inputs_digest: str
    model_digest: str
    models: Mapping[str, str]
    engines: Mapping[str, str]
    timings: Mapping[str, float]
    notes: tuple[str, ...]
    read: Mapping[str, Any]
    summary: str | None
    reason: str | None
    reason_code: str | None
    attempts: int
    deaths: int
    worker: str | None
    superseded_by: int | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    updated_at: dt.datetime


@dataclass(frozen=True, kw_only=True)
class ClaimedJob(JobRow):
    """A job that is now ours to run.

    Attributes:
        inputs: Its images by role, in the order in which they came.
        descriptions: Series Description by role.
        images: Number of images of the whole study.
        lost: What came for the study and could not be used.
    """

    inputs: Mapping[str, tuple[InputFile, ...]]
    descriptions: Mapping[str, str] = field(default_factory=dict)
    images: int = 0
    lost: tuple[LossRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NewResult:
    """A file that a job made.

    Attributes:
        name: Unique among the results of this kind of the job.
        content_digest: Hexadecimal digest of the file.
        encoding: The form of segmentation that it is or refers to; '' where that does not matter.
        destinations: Where it goes: None for wherever the job goes, () for nowhere (pictures for the console).
    """

    kind: ResultKind
    name: str
    path: Path
    size: int
    content_digest: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    encoding: str = ""
    destinations: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class NewMeasurement:
    """A figure that a job found, or an answer in words.

    Attributes:
        subject: Tracking identifier ("Lesion 1"), '' for the study as a whole.
        quantity: "volume", "diameter axial", "tumour burden", ...; unique for the subject.
        unit: UCUM.
    """

    subject: str
    quantity: str
    value: float | None = None
    unit: str = ""
    text: str | None = None
    label: str = ""
    tracking_uid: str = ""


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    """What a job made and found.

    Attributes:
        models: Model package to digest of its network: what really ran.
        engines: Model package to engine, precision and device.
        timings: Step to seconds.
        summary: The findings in one line, for lists.
        notes: What a reader must know (a sequence was missing, ...).
        read: Role to what was read of its series: "series", "description", "images" read, and how many "came".
    """

    results: tuple[NewResult, ...] = ()
    measurements: tuple[NewMeasurement, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    summary: str | None = None
    notes: tuple[str, ...] = ()
    read: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recovered:
    """What a daemon that died had left unfinished: jobs back in the queue, deliveries to be tried again."""

    jobs: tuple[int, ...]
    deliveries: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class DueDelivery:
    """One result that a destination is to get now; `attempts` are those made so far."""

    id: int
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    attempts: int


@dataclass(frozen=True)
class DeliveryBatch:
    """What of one job goes to one destination now: one association's worth."""

    destination: str
    job_id: int
    study_uid: str
    items: tuple[DueDelivery, ...]
