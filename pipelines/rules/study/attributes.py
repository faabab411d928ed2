"""A study as the rules see it: the tags of its series, and what we derive from them.

Everything is plain data, so the same facts come from files (`pipelines.rules.study.grouping`) and from the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dicomio.volumes.units import units_of
from pipelines.rules.derived.bolus_timing import Acquired, phases
from pipelines.rules.derived.contrast import contrast
from pipelines.rules.derived.kinds import Phase, SequenceKind
from pipelines.rules.derived.localizer import localizer
from pipelines.rules.derived.phase import by_words
from pipelines.rules.derived.plane import AnatomicalPlane, plane
from pipelines.rules.derived.sequence import sequence
from pipelines.rules.derived.value import Derived
from pipelines.rules.tag_values import Scalar, number, scalars, text

DERIVED = ("plane", "images", "sequence", "contrast", "phase", "localizer", "units", "source_ae")
"""Names that a rule can use for what no tag says; written small, unlike DICOM keywords."""
REASONED = ("plane", "sequence", "contrast", "phase", "localizer", "units")
"""Those of them that we conclude from several tags, and can give a reason for."""


@dataclass(frozen=True)
class SeriesAttributes:
    """One series.

    Attributes:
        tags: DICOM keyword -> plain value (text, number or a list of them) of one of its images.
        instance_tags: The tags that differ from image to image, one mapping per image; may be left empty.
        images: Number of images; of frames, for multi-frame objects.
        source_ae: Application Entity that sent it, '' if unknown.
    """

    series_instance_uid: str
    tags: Mapping[str, Any]
    instance_tags: tuple[Mapping[str, Any], ...] = ()
    images: int = 0
    source_ae: str = ""

    @property
    def plane(self) -> AnatomicalPlane | None:
        """Plane of the slices; None when not knowable."""
        return self.plane_derived.value

    @property
    def sequence(self) -> SequenceKind | None:
        """Kind of MR sequence; None when not knowable, and for everything but MR."""
        return self.sequence_derived.value

    @property
    def contrast(self) -> bool | None:
        """Whether contrast had been given, by this series' own header; the study's `derived` asks the others too."""
        return self.contrast_derived.value

    @property
    def localizer(self) -> bool | None:
        """Whether it was made to plan the others; None when not knowable."""
        return self.localizer_derived.value

    @cached_property
    def plane_derived(self) -> Derived[AnatomicalPlane]:
        """The plane, and why."""
        return plane(self.tags, self.instance_tags)

    @cached_property
    def sequence_derived(self) -> Derived[SequenceKind]:
        """The kind of sequence, and why."""
        return sequence(self.tags, self.instance_tags, self.images, localizer=self.localizer)

    @cached_property
    def contrast_derived(self) -> Derived[bool]:
        """Contrast by this series' own header, and why."""
        return contrast(self.tags)

    @cached_property
    def localizer_derived(self) -> Derived[bool]:
        """Whether it is a localizer, and why."""
        return localizer(self.tags, self.instance_tags, self.images)

    @cached_property
    def units_derived(self) -> Derived[str]:
        """What the pixel values are numbers of (HU, MGML, Z_EFF, ...), and why."""
        image_type = map(str, self.values("ImageType"))
        found = units_of(
            text(self.tags, "Modality"), text(self.tags, "RescaleType"), image_type, text(self.tags, "Units")
        )
        return Derived(found.name or None, found.because)

    @cached_property
    def _varying(self) -> dict[str, tuple[Scalar, ...]]:
        return {}

    def values(self, keyword: str) -> tuple[Scalar, ...]:
        """All different values of a DICOM keyword over the images, first seen first; () when it is missing or empty."""
        found = self._varying.get(keyword)
        if found is None:
            own = scalars(self.tags.get(keyword))
            others = (value for tags in self.instance_tags for value in scalars(tags.get(keyword)))
            found = self._varying[keyword] = tuple(dict.fromkeys((*own, *others)))
        return found

    @property
    def acquired(self) -> str:
        """Time of day of the acquisition, HHMMSS; '' when it is not given."""
        return (text(self.tags, "AcquisitionTime") or text(self.tags, "SeriesTime")).replace(":", "")


def _is_mr(series: SeriesAttributes) -> bool:
    return text(series.tags, "Modality") == "MR"


@dataclass(frozen=True)
class StudyAttributes:
    """One study with its series.

    Attributes:
        tags: DICOM keyword -> plain value of what belongs to the study or the patient (StudyDescription, ...).
    """

    study_instance_uid: str
    tags: Mapping[str, Any]
    series: tuple[SeriesAttributes, ...]

    @cached_property
    def _timed(self) -> bool:
        """Whether every MR series says when it was acquired; else series numbers must do."""
        return all(series.acquired for series in self._mr)

    @cached_property
    def _mr(self) -> tuple[SeriesAttributes, ...]:
        return tuple(series for series in self.series if _is_mr(series))

    @cached_property
    def _contrast_began(self) -> str | float | None:
        """When the first MR series with contrast was acquired."""
        return min((self._moment(series) for series in self._mr if series.contrast), default=None)

    def _moment(self, series: SeriesAttributes) -> Any:
        return series.acquired if self._timed else number(series.tags, "SeriesNumber") or 0.0

    @cached_property
    def _contrasts(self) -> dict[str, Derived[bool]]:
        return {}

    def derived(self, series: SeriesAttributes, name: str) -> Derived[Any]:
        """A derived attribute of one of the study's series, with its reason."""
        match name:
            case "plane" | "sequence" | "localizer" | "units":
                found: Derived[Any] = getattr(series, f"{name}_derived")
                return found
            case "contrast":
                return self._contrast(series)
            case "phase":
                return self._phase(series)
            case "images":
                return Derived(series.images, "counted")
            case "source_ae":
                return Derived(series.source_ae or None, "who sent it")
        raise KeyError(name)

    def _contrast(self, series: SeriesAttributes) -> Derived[bool]:
        """By the series' words and the study's; one that says nothing and came after one with contrast is unknown."""
        uid = series.series_instance_uid
        if uid not in self._contrasts:
            began = self._contrast_began
            after = began is not None and _is_mr(series) and self._moment(series) > began
            self._contrasts[uid] = contrast({**self.tags, **series.tags}, after_contrast=after)
        return self._contrasts[uid]

    def _phase(self, series: SeriesAttributes) -> Derived[Phase]:
        if series.localizer:
            return Derived(None, "a localizer")
        if text(series.tags, "Modality") != "CT":
            return by_words(series.tags)
        return self._ct_phases[series.series_instance_uid]

    @cached_property
    def _ct_phases(self) -> dict[str, Derived[Phase]]:
        """CT phases are told by the study as a whole: when each series was acquired, and which of them had contrast."""
        scans = [one for one in self.series if text(one.tags, "Modality") == "CT" and not one.localizer]
        acquired = [
            Acquired.read(one.series_instance_uid, one.tags, one.instance_tags, self._contrast(one).value)
            for one in scans
        ]
        return phases(acquired, self.tags)

    def values(self, series: SeriesAttributes, name: str) -> tuple[Scalar, ...]:
        """What a rule sees under a name, for one series; () when it is missing or not knowable."""
        if name in DERIVED:
            value = self.derived(series, name).value
            return () if value is None else (value,)
        return series.values(name) or scalars(self.tags.get(name))

    def study_values(self, name: str) -> tuple[Scalar, ...]:
        """What a rule sees under a name, for the study: its own tags, else the different values of its series."""
        if name == "images":
            return (sum(series.images for series in self.series),)
        if name == "source_ae":
            return tuple(dict.fromkeys(series.source_ae for series in self.series if series.source_ae))
        own = scalars(self.tags.get(name))
        return own or tuple(dict.fromkeys(value for series in self.series for value in series.values(name)))
