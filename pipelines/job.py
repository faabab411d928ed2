"""What travels between the daemon and its workers: a job goes there, an outcome comes back. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from dicomio.files.inflate import LARGEST_INFLATED

if TYPE_CHECKING:
    from dicomio.results.segmentation.encoder import Encoding
    from engines.contract import EngineSettings

ResultFileKind = Literal["segmentation", "report", "key-image"]


@dataclass(frozen=True)
class EngineChoice:
    """A model package (its folder) and how to run it."""

    folder: str
    settings: EngineSettings


ModelChoices = Mapping[str, Mapping[str, EngineChoice]]
"""Pipeline -> slot -> the package that fills it."""


@dataclass(frozen=True, kw_only=True)
class UnusableImage:
    """Something that came for the study and could not be used; '' and None for what is not known of it.

    Attributes:
        kind: quarantined, cut off, not finished, refused or conflicting.
        reason: What is wrong with it, as the end of a sentence.
        series_uid: '' if it may be of any series.
        number: Instance Number.
        position: Image Position (Patient), LPS in mm.
        name: Of its file, where that is known.
    """

    kind: str
    reason: str
    series_uid: str = ""
    sop_uid: str = ""
    number: str = ""
    position: tuple[float, ...] | None = None
    name: str = ""


@dataclass(frozen=True)
class JobSeries:
    """The series that fills a role of a job."""

    uid: str
    description: str = ""


@dataclass(frozen=True)
class JobDescription:
    """Everything that a worker needs to know.

    Attributes:
        inputs: Role -> files of the series that fills it.
        inputs_digest: Digest of what the files hold; result UIDs derive from it and `model_digest`.
        models: Slot -> model package and engine.
        segmentations: Encodings that the destinations want.
        output: Folder for the results; is made, and cleared of an earlier try's.
        largest_inflated: Bytes that a deflated image may inflate to.
        created: When the job was made: the date of the results, the same in every try.
        series: Role -> the series that fills it.
        study_images: Images of the whole study.
        lost: What came for the study and could not be used.
        lenient: The job runs although its series lost images, and says so; else it is refused.
        notes: For the reader of the results, on the series that were chosen (`pipelines.series_notes`).
    """

    job_id: str
    pipeline: str
    inputs: Mapping[str, tuple[str, ...]]
    inputs_digest: str
    model_digest: str
    models: Mapping[str, EngineChoice]
    output: str
    created: datetime
    segmentations: tuple[Encoding, ...] = ("BINARY",)
    key_images: bool = True
    largest_inflated: int = LARGEST_INFLATED
    series: Mapping[str, JobSeries] = field(default_factory=dict)
    study_images: int = 0
    lost: tuple[UnusableImage, ...] = ()
    lenient: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ResultFile:
    """One DICOM object that a job wrote; `encoding` is the form of SEG that it goes with, None where any will do."""

    kind: ResultFileKind
    path: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    encoding: Encoding | None = None


@dataclass(frozen=True)
class NumericResult:
    """One figure for the database: of which region ("Study" for the whole), what, how much, in which UCUM unit."""

    tracking_id: str
    name: str
    value: float
    unit: str
    tracking_uid: str = ""
    label: str = ""


@dataclass(frozen=True)
class SeriesRead:
    """How much of a series was read.

    Attributes:
        images: That were read; frames of a multi-frame object one by one.
        came: Those and what is known to be lost of it.
    """

    series: str
    description: str
    images: int
    came: int


@dataclass(frozen=True)
class Outcome:
    """What came of a job: results, or `refused` with the reason that a technologist understands.

    Attributes:
        refused_as: Name of the refusal's class, such as "UnevenSpacing".
        answer: What the study as a whole shows: one of `pipelines.findings.Answer`, '' without findings.
        headline: The same for people, with the question.
        read: Role to how much of its series was read.
        told_read: The same in a sentence.
    """

    job_id: str
    refused: str | None = None
    refused_as: str = ""
    results: tuple[ResultFile, ...] = ()
    pictures: tuple[str, ...] = ()
    measurements: tuple[NumericResult, ...] = ()
    answer: str = ""
    headline: str = ""
    summary: str = ""
    notes: tuple[str, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    read: Mapping[str, SeriesRead] = field(default_factory=dict)
    told_read: str = ""
