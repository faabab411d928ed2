"""What came in: studies, series, images, associations."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from db.states import AssociationEnd, LossKind, Origin, StudyState


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceRow:
    """One image, as far as routing and loading ask for it.

    Attributes:
        content_digest: Hexadecimal digest of the file's data set; tells a repeated image from a different one.
        path: Where the file lies.
        instance_tags: Keyword to plain JSON value: the few that differ from image to image and that rules derive from.
    """

    sop_instance_uid: str
    sop_class_uid: str
    content_digest: str
    path: Path
    frames: int
    has_pixels: bool
    source_ae: str
    instance_tags: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexedInstance(InstanceRow):
    """One image that came, with all that its file tells of it, of its series and of its study; `path` stays.

    Attributes:
        tags: Keyword to plain JSON value; those of the first image become the tags of its series and study.
        size: In bytes.
        received_at: Aware of its time zone.
    """

    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    patient_id: str
    accession_number: str
    study_date: str
    rows: int | None
    columns: int | None
    tags: Mapping[str, Any]
    size: int
    received_at: dt.datetime
    origin: Origin
    association_id: str | None = None


class Indexed(StrEnum):
    """What became of a file that was to be indexed."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    SAME = "same"


@dataclass(frozen=True, slots=True)
class IndexOutcome:
    """What became of one file.

    Attributes:
        kind: new; a duplicate (same UIDs, same content); the same image in another encoding (kept, not used); or a
            conflict (same UIDs, other content; both are kept).
        sop_instance_uid: The image.
        given: The path that was given.
        path: Where the database says that this content lies. For a duplicate that is the earlier file.
    """

    kind: Indexed
    sop_instance_uid: str
    given: Path
    path: Path

    @property
    def keep(self) -> bool:
        """Whether the given file must stay.

        False only for a true second copy. A file that is indexed twice, as after a crash, is a duplicate of itself:
        whoever deletes duplicates must ask this and not the kind.
        """
        return self.given == self.path


@dataclass(frozen=True, kw_only=True)
class AssociationRow:
    """One association that has ended; `how` is None in answers when its end was never written (the power went)."""

    association_id: str
    calling_ae: str
    called_ae: str
    peer_host: str
    opened_at: dt.datetime | None
    closed_at: dt.datetime | None
    how: AssociationEnd | None
    files: int
    refused: int = 0


@dataclass(frozen=True, kw_only=True)
class LossRow:
    """Something that came for a study and could not be used; '' and None where nothing is known.

    Attributes:
        receipt: Name of the note in the spool: the same loss is written down once.
        reason: What is wrong with it, as the end of a sentence: "is cut off: ...".
        number: Instance Number.
        position: Image Position (Patient), LPS in mm.
        file: Its name in the spool's quarantine, '' if nothing of it was kept.
    """

    receipt: str
    kind: LossKind
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    association_id: str | None
    source_ae: str
    number: str
    position: tuple[float, ...] | None
    reason: str
    file: str
    lost_at: dt.datetime


@dataclass(frozen=True)
class Completable:
    """A study that need not be waited for any longer, and why."""

    study_uid: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SeriesContents:
    """A series with its images, in the order in which they came; conflicts are left out."""

    series_instance_uid: str
    modality: str
    description: str
    tags: Mapping[str, Any]
    instances: tuple[InstanceRow, ...]

    @property
    def instance_tags(self) -> tuple[Mapping[str, Any], ...]:
        """The tags of every image."""
        return tuple(instance.instance_tags for instance in self.instances)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the images lie."""
        return tuple(instance.path for instance in self.instances)

    @property
    def images(self) -> int:
        """Number of images; a multi-frame object counts as many as it has frames."""
        return sum(max(instance.frames, 1) for instance in self.instances)

    @property
    def source_ae(self) -> str:
        """Who sent the first image."""
        return self.instances[0].source_ae if self.instances else ""


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """A study as the lists show it."""

    study_instance_uid: str
    state: StudyState
    patient_id: str
    accession_number: str
    study_date: str
    description: str
    images: int
    reasons: tuple[str, ...]
    reason_code: str | None
    first_received_at: dt.datetime
    last_received_at: dt.datetime
    completed_at: dt.datetime | None
    completed_because: str | None
    updated_at: dt.datetime
    became: str | None = None


@dataclass(frozen=True, kw_only=True)
class StudyContents:
    """A study with its series and images: everything that routing needs to know of it."""

    study: StudyRow
    tags: Mapping[str, Any]
    series: tuple[SeriesContents, ...]
