"""The tables: what came, from whom, what ran on it, with which model, what was found, where it went.

Of the patient the identifier is kept, of the study accession number, date and description: they are what somebody needs
to find it in the PACS. `tags` hold what rules may ask about, age, sex, size and weight among it. There is no column for
a name or a birth date, and `db.tags` leaves out personal attributes (data minimisation, GDPR article 5).

Rows have no relationships on purpose: every query says what it reads, and nothing is loaded behind anybody's back.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import Base, Key, by_value
from db.states import AssociationEnd, DeliveryState, JobState, LossKind, Origin, Priority, ResultKind, StudyState


def _where(name: str, *columns: str, condition: str, unique: bool = False) -> Index:
    """An index over the rows that a condition holds for, on both databases."""
    where = text(condition)
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


class Installation(Base):
    """Which spool the database belongs to: one row, with the identifier that the spool has as well.

    `data_dir` and `host` say where that spool was when a daemon last started on it.
    """

    __tablename__ = "installation"

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[dt.datetime]
    data_dir: Mapped[str]
    host: Mapped[str]


class Association(Base):
    """One DICOM association, written when it has ended.

    Images refer to it by its identifier and without a foreign key: they are indexed while it is still open, and an
    association that was open when the machine lost power never gets a row.
    """

    __tablename__ = "association"

    association_id: Mapped[str] = mapped_column(primary_key=True)
    calling_ae: Mapped[str]
    called_ae: Mapped[str]
    peer_host: Mapped[str]
    opened_at: Mapped[dt.datetime] = mapped_column(index=True)
    closed_at: Mapped[dt.datetime]
    how: Mapped[AssociationEnd] = mapped_column(by_value(AssociationEnd))
    files: Mapped[int]
    refused: Mapped[int]


class Study(Base):
    """One study, as far as it has come in.

    `reasons` say why no rule took it, `became` what a later sending of the same images made of it.
    """

    __tablename__ = "study"

    id: Mapped[Key]
    study_instance_uid: Mapped[str] = mapped_column(unique=True)
    state: Mapped[StudyState] = mapped_column(by_value(StudyState), default=StudyState.RECEIVING)
    patient_id: Mapped[str] = mapped_column(index=True)
    accession_number: Mapped[str] = mapped_column(index=True)
    study_date: Mapped[str]
    description: Mapped[str]
    tags: Mapped[dict[str, Any]]
    images: Mapped[int] = mapped_column(default=0)
    reasons: Mapped[list[str]] = mapped_column(default=list)
    reason_code: Mapped[str | None]
    first_received_at: Mapped[dt.datetime]
    last_received_at: Mapped[dt.datetime]
    completed_at: Mapped[dt.datetime | None]
    completed_because: Mapped[str | None]
    became: Mapped[str | None]
    updated_at: Mapped[dt.datetime]

    __table_args__ = (
        Index(None, "state", "last_received_at"),
        Index(None, "updated_at"),
    )


class Series(Base):
    """One series of one study; a scanner that uses a series UID in two studies gets two rows, and loses nothing."""

    __tablename__ = "series"

    id: Mapped[Key]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    series_instance_uid: Mapped[str]
    modality: Mapped[str]
    description: Mapped[str]
    tags: Mapped[dict[str, Any]]
    images: Mapped[int] = mapped_column(default=0)

    __table_args__ = (UniqueConstraint("study_id", "series_instance_uid"),)


class Instance(Base):
    """One file that came.

    Of files with the same study, series and SOP Instance UID the first is `current`, those of another content are
    conflicts until somebody says which to use, or the whole study has come again with another PatientID. What is
    neither `current` nor a conflict is kept and not used.
    """

    __tablename__ = "instance"

    id: Mapped[Key]
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    sop_instance_uid: Mapped[str] = mapped_column(index=True)
    sop_class_uid: Mapped[str]
    transfer_syntax_uid: Mapped[str]
    patient_id: Mapped[str]
    content_digest: Mapped[str]
    path: Mapped[Path] = mapped_column(index=True)
    size: Mapped[int]
    frames: Mapped[int]
    has_pixels: Mapped[bool]
    rows: Mapped[int | None]
    columns: Mapped[int | None]
    instance_tags: Mapped[dict[str, Any]] = mapped_column("tags")
    received_at: Mapped[dt.datetime]
    source_ae: Mapped[str]
    association_id: Mapped[str | None] = mapped_column(index=True)
    origin: Mapped[Origin] = mapped_column(by_value(Origin))
    current: Mapped[bool]
    conflict: Mapped[bool]

    __table_args__ = (
        UniqueConstraint("series_id", "sop_instance_uid", "content_digest"),
        _where("uq_instance_current", "series_id", "sop_instance_uid", condition="current", unique=True),
        _where("ix_instance_conflict", "received_at", condition="conflict"),
    )


class Loss(Base):
    """Something that came for a study and could not be used, with what could be read of whose it is; '' if nothing.

    It refers to no row: it may come before its study does. `receipt` is the note in the spool that it was made from.
    """

    __tablename__ = "lost_image"

    id: Mapped[Key]
    receipt: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[LossKind] = mapped_column(by_value(LossKind))
    study_instance_uid: Mapped[str] = mapped_column(index=True)
    series_instance_uid: Mapped[str] = mapped_column(index=True)
    sop_instance_uid: Mapped[str] = mapped_column(index=True)
    association_id: Mapped[str | None] = mapped_column(index=True)
    source_ae: Mapped[str]
    number: Mapped[str]
    position: Mapped[list[float] | None]
    reason: Mapped[str]
    file: Mapped[str]
    lost_at: Mapped[dt.datetime] = mapped_column(index=True)


class Job(Base):
    """One pipeline over one set of images with one set of models.

    That combination is unique among the jobs that are not superseded or cancelled: the same study sent twice makes no
    second job, while a job that was cancelled can be asked for again.
    """

    __tablename__ = "job"

    id: Mapped[Key]
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    state: Mapped[JobState] = mapped_column(by_value(JobState), default=JobState.QUEUED)
    rule: Mapped[str]
    pipeline: Mapped[str]
    priority: Mapped[Priority] = mapped_column(by_value(Priority))
    roles: Mapped[dict[str, str]]
    send_to: Mapped[list[str]]
    inputs_digest: Mapped[str]
    model_digest: Mapped[str]
    models: Mapped[dict[str, str]] = mapped_column(default=dict)
    engines: Mapped[dict[str, str]] = mapped_column(default=dict)
    timings: Mapped[dict[str, float]] = mapped_column(default=dict)
    notes: Mapped[list[str]] = mapped_column(default=list)
    read: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    summary: Mapped[str | None]
    reason: Mapped[str | None]
    reason_code: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None]
    superseded_by: Mapped[int | None] = mapped_column(ForeignKey("job.id"))
    created_at: Mapped[dt.datetime]
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]
    updated_at: Mapped[dt.datetime]

    __table_args__ = (
        _where(
            "uq_job_inputs_pipeline_model",
            "inputs_digest",
            "pipeline",
            "model_digest",
            condition="state NOT IN ('superseded', 'cancelled')",
            unique=True,
        ),
        _where("ix_job_queue", "created_at", condition="state = 'queued'"),
        Index(None, "state", "updated_at"),
        Index(None, "updated_at"),
        {"sqlite_autoincrement": True},  # a job's number is spoken and written down: never give it to another
    )


class JobInput(Base):
    """An image that a job works on: what `inputs_digest` was computed from, so that late images change no old job."""

    __tablename__ = "job_input"

    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    instance_id: Mapped[int] = mapped_column(ForeignKey("instance.id"), primary_key=True, index=True)


class JobEvent(Base):
    """One move of a study, a job or a delivery, or something else worth knowing; written with what it tells of."""

    __tablename__ = "job_event"

    id: Mapped[Key]
    at: Mapped[dt.datetime] = mapped_column(index=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"), index=True)
    delivery_id: Mapped[int | None] = mapped_column(ForeignKey("delivery.id"), index=True)
    event: Mapped[str]
    because: Mapped[str]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)

    __table_args__ = ({"sqlite_autoincrement": True},)


class Result(Base):
    """One file that a job made; `encoding` is the form of segmentation that it is or refers to."""

    __tablename__ = "result"

    id: Mapped[Key]
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    kind: Mapped[ResultKind] = mapped_column(by_value(ResultKind))
    name: Mapped[str]
    path: Mapped[Path]
    size: Mapped[int]
    content_digest: Mapped[str]
    sop_class_uid: Mapped[str]
    sop_instance_uid: Mapped[str] = mapped_column(index=True)
    series_instance_uid: Mapped[str]
    encoding: Mapped[str] = mapped_column(default="", server_default="")
    created_at: Mapped[dt.datetime]

    __table_args__ = (UniqueConstraint("job_id", "kind", "name"),)


class Measurement(Base):
    """One figure that a job found; `subject` is the tracking identifier ("Lesion 1"), '' for the study as a whole."""

    __tablename__ = "measurement"

    id: Mapped[Key]
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    subject: Mapped[str]
    tracking_uid: Mapped[str]
    label: Mapped[str]
    quantity: Mapped[str]
    value: Mapped[float | None]
    unit: Mapped[str]
    text: Mapped[str | None]


class Delivery(Base):
    """One result on its way to one destination; `status` is the last DICOM status that the destination answered."""

    __tablename__ = "delivery"

    id: Mapped[Key]
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    result_id: Mapped[int] = mapped_column(ForeignKey("result.id"))
    destination: Mapped[str]
    state: Mapped[DeliveryState] = mapped_column(by_value(DeliveryState), default=DeliveryState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[dt.datetime]
    worker: Mapped[str | None]
    status: Mapped[int | None]
    last_error: Mapped[str | None]
    reason_code: Mapped[str | None]
    sent_at: Mapped[dt.datetime | None]
    accepted_at: Mapped[dt.datetime | None]
    updated_at: Mapped[dt.datetime]

    __table_args__ = (
        UniqueConstraint("result_id", "destination"),
        _where("ix_delivery_due", "next_attempt_at", condition="state = 'pending'"),
        Index(None, "state"),
    )


METADATA = Base.metadata
"""All tables: what the migrations must lead to."""
