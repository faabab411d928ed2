"""Which of several series that fit a role takes it, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipelines.rules.derived.acquisition import volumes
from pipelines.rules.derived.kinds import Phase
from pipelines.rules.derived.plane import AnatomicalPlane
from pipelines.rules.derived.wording import any_of, plain
from pipelines.rules.study.attributes import SeriesAttributes, StudyAttributes
from pipelines.rules.tag_values import codes, number, numbers, positive, text

_NOT_DIAGNOSTIC = any_of(
    r"\bcalib|\bcal\b|\basset\b|\bref(?:erence)? scan\b|\bcoil ?sens|\bprescan|\bshim\b",
    r"monitoring|smart ?prep|bolus ?track|\btracker\b|care ?bolus|\btest ?bolus|\bsurestart",
    r"dose (?:report|info)|patient protocol|exam summary|screen ?save|\breport\b|\bsnapshot",
)
"""Series that only serve the examination: calibrations, bolus tracking, reports."""

_REFORMATTED = any_of(
    r"\bm(?:in)?ip\b|\bmpr\b|\breformat|\bref(?:mt|orm)\b|\bcurved\b|\bvrt?\b|\bvolume render",
    r"\b3d ?ssd\b|\bsub(?:traction|tracted)?\b|\bfusion\b",
)
_REFORMAT_CODES = frozenset(
    ("MPR", "MIP", "MNIP", "MIN IP", "MINIP", "PROJECTION IMAGE", "REFORMATTED", "SUB", "SUBTRACTION", "P", "PHASE")
)
"""Values of ImageType for what was computed from other images, or does not show their contrast (phase images)."""

_SHARP = re.compile(
    r"bone|lung|edge|sharp|hrct|^[bhuiqjt][rlfvpq]?[5-9]\d|^y[a-d]|^[ef]$|^fc(?:[3-5]\d|8\d)", re.IGNORECASE
)
_SOFT = re.compile(
    r"^(?:standard|stnd|soft|smooth|std)|^[bhuiqjt][rfvpq]?[1-4]\d|^[abc]$|^fc(?:0\d|1\d|2[0-6])", re.IGNORECASE
)
"""Reconstruction kernels of CT: Siemens B30f, Br40; GE STANDARD, BONE; Philips B, YA; Toshiba and Canon FC08, FC30."""


_CLOSE_MM = 2.0
"""Slices no farther apart can be cut in another plane without much loss."""


@dataclass(frozen=True)
class Candidate:
    """A series that fits a role, and how it does by each criterion; `CRITERIA` are compared in their order.

    Attributes:
        wanted: The contrast phase that the pipeline's network knows; None where it does not matter.
    """

    study: StudyAttributes
    series: SeriesAttributes
    wanted: Phase | None = None

    @property
    def not_localizer(self) -> int:
        """0 for a localizer."""
        return 0 if self.series.localizer else 1

    @property
    def diagnostic(self) -> int:
        """0 for calibrations, bolus tracking, dose reports."""
        return 0 if _NOT_DIAGNOSTIC.search(self._description) else 1

    @cached_property
    def origin(self) -> int:
        """2 for what the scanner acquired, 1 for what was computed, 0 for reformats, projections and phase images."""
        kind = codes(self.series.tags, "ImageType")
        if _REFORMAT_CODES & set(kind[2:]) or _REFORMATTED.search(self._description):
            return 0
        return 2 if kind[:2] in ((), ("ORIGINAL", "PRIMARY")) else 1

    @cached_property
    def repeats(self) -> float:
        """How often each slice comes; 1 for one volume, and when it is not known."""
        found = volumes(self.series.instance_tags, self.series.images)
        return 1.0 if found is None else round(found, 1)

    @property
    def not_reformatted(self) -> int:
        """0 for reformats, projections and phase images, whatever else speaks for them."""
        return min(self.origin, 1)

    @cached_property
    def phase(self) -> Phase | None:
        """The contrast phase; None when not known."""
        phase: Phase | None = self.study.derived(self.series, "phase").value
        return phase

    @property
    def phase_fits(self) -> int:
        """4 for the network's own phase, 3 for an unknown one, then what looks most like it; 0 without contrast."""
        if self.wanted is None:
            return 0
        if self.phase is self.wanted:
            return 4
        return {None: 3, Phase.DELAYED: 2, Phase.PORTAL: 2, Phase.ARTERIAL: 1, Phase.NATIVE: 0}[self.phase]

    @property
    def axial(self) -> int:
        """1 for what can be read slice by slice from feet to head: axial slices, or close ones of another plane."""
        return 1 if self.series.plane is AnatomicalPlane.AXIAL or 0 < self.spacing <= _CLOSE_MM else 0

    @property
    def kernel(self) -> int:
        """CT: 2 for a soft tissue kernel, 0 for a sharp one (bone, lung); 1 for all others."""
        name = text(self.series.tags, "ConvolutionKernel")
        if _SHARP.search(name):
            return 0
        return 2 if _SOFT.search(name) else 1

    @property
    def contrast_known(self) -> int:
        """1 when we know whether contrast was given."""
        return 0 if self.study.derived(self.series, "contrast").value is None else 1

    @cached_property
    def slices(self) -> int:
        """Number of slices of one volume."""
        return round(self.series.images / self.repeats)

    @cached_property
    def spacing(self) -> float:
        """Distance of slices in mm; 0 when not known."""
        tags = self.series.tags
        return round(_distance(self.series) or positive(tags, "SpacingBetweenSlices", "SliceThickness") or 0.0, 1)

    @property
    def pixel(self) -> float:
        """Pixel size in mm; 0 when not known."""
        return round(positive(self.series.tags, "PixelSpacing") or 0.0, 2)

    @property
    def latest(self) -> tuple[str, float, str]:
        """Time, series number and UID: a repetition comes later, and was made because the first one was not good."""
        series = self.series
        return series.acquired, number(series.tags, "SeriesNumber") or 0.0, series.series_instance_uid

    @property
    def _description(self) -> str:
        return plain(text(self.series.tags, "SeriesDescription"))


def _distance(series: SeriesAttributes) -> float | None:
    """Distance of the first two slices along their normal, from their positions."""
    cosines = numbers(series.tags, "ImageOrientationPatient")
    positions = [numbers(tags, "ImagePositionPatient") for tags in series.instance_tags]
    if len(cosines) != 6 or len(positions) < 2 or any(len(position) != 3 for position in positions):
        return None
    (a, b, c), (d, e, f) = cosines[:3], cosines[3:]
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    heights = sorted({round(sum(n * p for n, p in zip(normal, at, strict=True)), 2) for at in positions})
    return (heights[-1] - heights[0]) / (len(heights) - 1) if len(heights) > 1 else None


@dataclass(frozen=True)
class Criterion:
    """One reason to prefer a series: its score (more is better), and the words for a difference between two series."""

    score: Callable[[Candidate], float | tuple[str, float, str]]
    explain: Callable[[Candidate, Candidate], str]


_KERNELS = ("a sharp kernel", "an unknown kernel", "a soft kernel")
_ORIGINS = ("a reformat or projection", "a computed series", "an original acquisition")


def _origins(one: Candidate, other: Candidate) -> str:
    return f"{_ORIGINS[one.origin]}, the other is {_ORIGINS[other.origin]}"


def _phase(candidates: Candidate) -> str:
    return str(candidates.phase) if candidates.phase else "of unknown phase"


def _less_is_better(value: float) -> float:
    """Sorts small values first and unknown ones (0) last."""
    return -value if value else float("-inf")


CRITERIA: Sequence[Criterion] = (
    Criterion(lambda m: m.not_localizer, lambda m, o: "the other is a localizer"),
    Criterion(lambda m: m.diagnostic, lambda m, o: "the other only serves the examination"),
    Criterion(lambda m: m.not_reformatted, _origins),
    Criterion(lambda m: -m.repeats, lambda m, o: f"one volume, the other repeats its slices {o.repeats:g} times"),
    Criterion(
        lambda m: m.phase_fits, lambda m, o: f"{_phase(m)}, the other {_phase(o)}; the network is for {m.wanted}"
    ),
    Criterion(lambda m: m.origin, _origins),
    Criterion(lambda m: m.axial, lambda m, o: f"axial or close slices, the other is {o.series.plane or 'unknown'}"),
    Criterion(lambda m: m.kernel, lambda m, o: f"{_KERNELS[m.kernel]}, the other has {_KERNELS[o.kernel]}"),
    Criterion(lambda m: m.contrast_known, lambda m, o: "contrast is known, of the other it is not"),
    Criterion(lambda m: m.slices, lambda m, o: f"more slices ({m.slices} against {o.slices})"),
    Criterion(
        lambda m: _less_is_better(m.spacing), lambda m, o: f"closer slices ({m.spacing:g} against {o.spacing:g} mm)"
    ),
    Criterion(lambda m: _less_is_better(m.pixel), lambda m, o: f"finer pixels ({m.pixel:g} against {o.pixel:g} mm)"),
    Criterion(lambda m: m.latest, lambda m, o: "acquired later" if m.latest[:2] != o.latest[:2] else "by its UID"),
)


def ranked(
    study: StudyAttributes, series: Sequence[SeriesAttributes], phase: Phase | None = None
) -> list[SeriesAttributes]:
    """Series in the order of preference, best first; the same for the same study, whatever the order given.

    Args:
        study: The study that they belong to.
        series: Series of it.
        phase: The contrast phase that the pipeline's network knows; None where it does not matter.
    """
    if len(series) < 2:
        return list(series)
    candidates = [Candidate(study, one, phase) for one in series]
    candidates.sort(key=lambda one: tuple(criterion.score(one) for criterion in CRITERIA), reverse=True)
    return [one.series for one in candidates]


def why_preferred(
    study: StudyAttributes, better: SeriesAttributes, other: SeriesAttributes, phase: Phase | None = None
) -> str:
    """The first criterion in which two series differ, in words; arguments as of `ranked`."""
    one, two = Candidate(study, better, phase), Candidate(study, other, phase)
    for criterion in CRITERIA:
        if criterion.score(one) != criterion.score(two):
            return criterion.explain(one, two)
    return "they are the same"
