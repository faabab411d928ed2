"""What a pipeline found: plain, frozen data that the encoder, the database and the table on the screen all read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from dicomio.volumes.masks import extents

if TYPE_CHECKING:
    import numpy as np

    from dicomio.results.codes import Code
    from dicomio.volumes.masks import Box
    from dicomio.volumes.volume import Volume


@dataclass(frozen=True)
class Label:
    """One segment that a pipeline can produce; number, codes and colour come from the model package."""

    number: int
    name: str
    category: Code
    type: Code
    colour: tuple[int, int, int]
    anatomic_region: Code | None = None


@dataclass(frozen=True)
class Diameters:
    """Largest extents of a lesion in the three anatomical planes, in mm (largest distance of two border points)."""

    axial_mm: float
    coronal_mm: float
    sagittal_mm: float


@dataclass(frozen=True)
class Region:
    """One measured thing: an organ as a whole, or one lesion (a 3D connected component).

    Attributes:
        tracking_id: Readable name, unique within the report ("Lesion 1", "Liver").
        volume_ml: Volume in millilitres.
        centroid_lps: Centre of mass in patient coordinates, mm, LPS.
        slices: Index of the first, the largest and the last slice of the source volume that it touches.
        component: Number of a lesion in `Findings.components`; None for an organ, or a part of all lesions.
        outlined: Whether it is a segment; a lesion whose parts are segments is measured, and not outlined again.
        holds: Labels that lie within it besides its own: a liver holds its tumours.
    """

    label: Label
    tracking_id: str
    volume_ml: float
    centroid_lps: tuple[float, float, float]
    slices: tuple[int, int, int]
    diameters: Diameters | None = None
    component: int | None = None
    outlined: bool = True
    holds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Classification:
    """Answer of a classifier for the study: which class, and how probable."""

    question: str
    answer: str
    probability: float
    threshold: float
    positive: bool


class Answer(StrEnum):
    """What a study as a whole is said to show: one answer, the same wherever it stands."""

    TUMOUR = "tumour"
    NO_TUMOUR = "no tumour"
    UNCLEAR = "unclear: look"


@dataclass(frozen=True, eq=False)
class Findings:
    """Result of a pipeline on one study.

    Attributes:
        volume: The series that the masks lie on (the FLAIR, the CT).
        segmentation: Label map (slices, rows, columns), uint8; 0 background, else `Label.number`.
        components: Lesion number per voxel (slices, rows, columns), uint16; 0 none, else `Region.component`. Zero where
            `segmentation` is.
        totals: Figures of the study as a whole, name -> (value, UCUM unit), such as the tumour burden in %.
        models: Model package name -> sha256 digest of its network.
        used: What a network was for (`segmenter`, `classifier`) -> name of the package that did it.
        engines: Model package name -> engine, precision and device that ran it.
        notes: For the reader of the results (a sequence was missing and replaced, ...).
        read: How many images were read of how many, and of which series, in a sentence.
        question: What the study was asked, as headlines call it ("Brain tumour").
        inconclusive: Why nothing outlined does not mean that there is nothing; '' where it does.
    """

    volume: Volume
    segmentation: np.ndarray
    components: np.ndarray
    labels: tuple[Label, ...]
    regions: tuple[Region, ...]
    classifications: tuple[Classification, ...] = ()
    totals: dict[str, tuple[float, str]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    engines: dict[str, str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    read: str = ""
    question: str = "Tumour"
    inconclusive: str = ""

    @property
    def answer(self) -> Answer:
        """What outlines and classifier agree on; unclear where they do not, or where there was nothing to look at."""
        said = {bool(self.lesions), *(answer.positive for answer in self.classifications)}
        if len(said) > 1 or (self.inconclusive and not self.lesions):
            return Answer.UNCLEAR
        return Answer.TUMOUR if said.pop() else Answer.NO_TUMOUR

    @cached_property
    def occupied(self) -> Box:
        """The box around everything that was segmented, empty where nothing was; lesions lie within it."""
        return extents(self.segmentation)

    @property
    def outlined(self) -> tuple[Region, ...]:
        """The regions that become segments, in the order in which those are numbered."""
        return tuple(region for region in self.regions if region.outlined)

    @property
    def lesions(self) -> tuple[Region, ...]:
        """The regions that are single lesions, largest first."""
        return tuple(sorted((r for r in self.regions if r.component is not None), key=lambda r: -r.volume_ml))
