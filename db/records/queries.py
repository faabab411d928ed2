"""What can be asked afterwards."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from db.records.jobs import InputFile, JobRow
from db.records.studies import AssociationRow, LossRow, StudyRow
from db.states import DeliveryState, JobState, Priority, ResultKind, StudyState


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """Something that happened: a move ("running -> failed"), and why."""

    id: int
    at: dt.datetime
    job_id: int | None
    delivery_id: int | None
    event: str
    because: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """A file that a job made."""

    id: int
    kind: ResultKind
    name: str
    path: Path
    size: int
    content_digest: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    created_at: dt.datetime


@dataclass(frozen=True, kw_only=True)
class MeasurementRow:
    """A figure that a job found."""

    subject: str
    tracking_uid: str
    label: str
    quantity: str
    value: float | None
    unit: str
    text: str | None


@dataclass(frozen=True, kw_only=True)
class DeliveryRow:
    """One result on its way to one destination."""

    id: int
    result: str
    destination: str
    state: DeliveryState
    attempts: int
    next_attempt_at: dt.datetime
    status: int | None
    last_error: str | None
    reason_code: str | None
    sent_at: dt.datetime | None
    accepted_at: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class JobDetail:
    """All that is known of a job, down to the associations that brought its images."""

    job: JobRow
    study: StudyRow
    events: tuple[EventRow, ...]
    results: tuple[ResultRow, ...]
    measurements: tuple[MeasurementRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    associations: tuple[AssociationRow, ...]
    inputs: Mapping[str, tuple[InputFile, ...]]
    series: tuple[SeriesRow, ...]
    lost: tuple[LossRow, ...]


@dataclass(frozen=True, kw_only=True)
class SeriesRow:
    """A series as the lists show it; `images` counts files, conflicts left out."""

    series_instance_uid: str
    modality: str
    description: str
    images: int


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """An image that came twice with different content; `kept` is the one in use, `other` came later."""

    sop_instance_uid: str
    study_uid: str
    patient_id: str
    kept: Path
    other: Path
    kept_digest: str
    other_digest: str
    received_at: dt.datetime
    source_ae: str
    association_id: str | None


@dataclass(frozen=True, kw_only=True)
class StudyDetail:
    """All that is known of a study; of its jobs only the numbers, newest first."""

    study: StudyRow
    series: tuple[SeriesRow, ...]
    events: tuple[EventRow, ...]
    associations: tuple[AssociationRow, ...]
    conflicts: tuple[Conflict, ...]
    lost: tuple[LossRow, ...]
    jobs: tuple[int, ...]


@dataclass(frozen=True)
class Counts:
    """How many there are in each state; states that nothing is in are there with 0."""

    studies: Mapping[StudyState, int]
    jobs: Mapping[JobState, int]
    deliveries: Mapping[DeliveryState, int]


@dataclass(frozen=True, kw_only=True)
class DestinationRow:
    """How far deliveries to a destination are; moments are None where there is no such delivery.

    Attributes:
        waiting: Results that are still to be sent.
        failed: Results that it refused for good, or that were given up.
        last_accepted_at: When it last took one.
        last_error: Of what waits or failed, the latest; '' if nothing did.
    """

    name: str
    waiting: int
    failed: int
    last_accepted_at: dt.datetime | None
    last_error: str = ""
    reason_code: str | None = None


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs to list; what is not given does not matter.

    Attributes:
        states: States of jobs, and of studies that have no job (yet): "receiving", "unmatched".
        source_ae: Somebody sent images of the study under this AE title.
        reason_code: Refused, failed, unmatched or not delivered for that reason (see `db.reasons`).
        since: Changed since then.
        until: Not changed since then.
        stuck_before: Only what needs a person (failed, refused, unmatched), or has not moved since that moment.
    """

    states: frozenset[str] = frozenset()
    pipeline: str | None = None
    rule: str | None = None
    study_uid: str | None = None
    patient_id: str | None = None
    accession_number: str | None = None
    source_ae: str | None = None
    reason_code: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    stuck_before: dt.datetime | None = None
    limit: int = 100


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """One line of a list: a job, or a study that has none (then `job_id` is None and `state` is the study's).

    Attributes:
        why: What holds it up or went wrong, in words; '' if nothing did.
        reason_code: The same as a code, to count by.
        senders: Who sent its images: AE titles, as the rules see them.
        deliveries: State to number.
        conflicts: Images of the study that came twice with different content.
        lost: Images of the study that came and could not be used.
    """

    job_id: int | None
    state: JobState | StudyState
    study: StudyRow
    rule: str = ""
    pipeline: str = ""
    priority: Priority | None = None
    summary: str = ""
    why: str = ""
    reason_code: str | None = None
    attempts: int = 0
    worker: str | None = None
    created_at: dt.datetime
    started_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    updated_at: dt.datetime
    deliveries: Mapping[DeliveryState, int] = field(default_factory=dict)
    conflicts: int = 0
    lost: int = 0
    senders: tuple[str, ...] = ()
