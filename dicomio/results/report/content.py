"""What a report says, as plain data: the pipelines fill it in, `encode_report` encodes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicomio.results.attributes import Algorithm
from dicomio.results.codes import NEOPLASM, Code

if TYPE_CHECKING:
    from dicomio.volumes.volume import SourceImage, Volume


@dataclass(frozen=True)
class Measured:
    """One figure: what it is, how much, in which unit (UCUM); written with six significant digits."""

    name: Code
    value: float
    unit: Code
    derivation: Code | None = None


@dataclass(frozen=True)
class Evaluation:
    """One coded question and its coded answer."""

    name: Code
    value: Code


@dataclass(frozen=True)
class MeasurementGroup:
    """One segment and what was measured on it: a lesion or an organ (TID 1411).

    Attributes:
        segment_number: Its number in the segmentation.
        tracking_id: Tracking ID of that segment.
        tracking_uid: Tracking UID of that segment.
        finding: What it is (neoplasm, liver).
        category: What kind of thing that is (CID 7150).
        site: Where it lies.
        algorithm: The network that found it.
        measurements: Volume, diameters, ...
        evaluations: What can be said about it in codes.
    """

    segment_number: int
    tracking_id: str
    tracking_uid: str
    finding: Code
    category: Code | None
    site: Code | None
    algorithm: Algorithm
    measurements: tuple[Measured, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()


@dataclass(frozen=True)
class ClassificationFinding:
    """Answer of a classifier for the study: is it there, and how probable is that (TID 1501).

    Attributes:
        finding: What was asked for.
        present: The answer; None where it alone does not make the study's (`Conclusion`).
        probability: Of presence, 0 to 1 (and not of the answer being right).
        algorithm: The network; state the threshold among its parameters.
    """

    tracking_id: str
    tracking_uid: str
    finding: Code
    present: bool | None
    probability: float
    algorithm: Algorithm
    site: Code | None = None


@dataclass(frozen=True)
class Conclusion:
    """What the study as a whole shows, all that looked at it taken together (TID 1501).

    Attributes:
        finding: What was asked for.
        presence: Present, absent or indeterminate.
    """

    tracking_id: str
    tracking_uid: str
    finding: Code
    presence: Code
    algorithm: Algorithm
    site: Code | None = None


@dataclass(frozen=True)
class AbsentFinding:
    """Something that was looked for and not found (TID 1501, absent); makes "no finding" a result of its own."""

    tracking_id: str
    tracking_uid: str
    algorithm: Algorithm
    finding: Code = NEOPLASM
    site: Code | None = None


@dataclass(frozen=True)
class StudyTotals:
    """Figures of the study as a whole: number of lesions, tumour burden (TID 1501)."""

    tracking_id: str
    tracking_uid: str
    measurements: tuple[Measured, ...]
    algorithm: Algorithm
    finding: Code = NEOPLASM
    site: Code | None = None


StudyGroup = Conclusion | ClassificationFinding | AbsentFinding | StudyTotals


@dataclass(frozen=True)
class SourceSeries:
    """A series that the findings were made from.

    Attributes:
        images: Its images; frames of one multi-frame image one by one.
    """

    series_instance_uid: str
    modality: str
    frame_of_reference_uid: str
    images: tuple[SourceImage, ...] = field(repr=False)

    @classmethod
    def of(cls, volume: Volume) -> SourceSeries:
        """The series behind a volume."""
        return cls(volume.series_instance_uid, volume.modality, volume.frame_of_reference_uid, volume.sources)


@dataclass(frozen=True)
class ReportContent:
    """Everything that a report says.

    Attributes:
        summary: One or two sentences for a person.
        groups: Lesions and organs; they need a segmentation.
        classifications: Answers for the study as a whole.
        absent: What was looked for and not found.
        totals: Figures of the study as a whole.
        notes: What a reader must know: a sequence was missing, the image quality is poor, ...
        conclusion: The one answer for the study as a whole.
        procedure: The procedure reported; by default the one that the modality of the first series stands for.
    """

    summary: str
    groups: tuple[MeasurementGroup, ...] = ()
    classifications: tuple[ClassificationFinding, ...] = ()
    absent: tuple[AbsentFinding, ...] = ()
    totals: tuple[StudyTotals, ...] = ()
    notes: tuple[str, ...] = ()
    conclusion: Conclusion | None = None
    procedure: Code | None = None

    @property
    def no_finding(self) -> bool:
        """Whether something was looked for and nothing of it is there."""
        return bool(self.absent) and not any(answer.present for answer in self.classifications)

    @property
    def study_groups(self) -> tuple[StudyGroup, ...]:
        """All that is said about the study and not about a segment."""
        concluded = () if self.conclusion is None else (self.conclusion,)
        return (*concluded, *self.classifications, *self.absent, *self.totals)
