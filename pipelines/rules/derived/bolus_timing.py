"""The contrast phases of a CT study by its words, its contrast tags and when its series were acquired.

A series that names its phase has it. For the others the start of the injection is sought: as a tag states it, else from
the bolus tracking, else from a series that names its phase; the time from there to the acquisition tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.rules.derived.kinds import Phase
from pipelines.rules.derived.phase import NO_WORDS, by_delay, by_study_words, by_words
from pipelines.rules.derived.value import Derived
from pipelines.rules.derived.wording import any_of, plain
from pipelines.rules.tag_values import text

_TRACKING = any_of(r"\bmonitoring|smart ?prep|bolus ?track|\btracker\b|care ?bolus|\bsurestart")
TRACKED_FROM = 10.0
"""Seconds from the injection to the first image of the bolus tracking, as protocols have it."""
_TYPICAL = {Phase.PORTAL: 70.0, Phase.ARTERIAL: 30.0}
"""Seconds after the injection; the surest first."""
_ARTERIAL_TO_PORTAL = (20.0, 50.0)
_FAR_APART = 3 * 3600.0


@dataclass(frozen=True)
class Acquired:
    """What the phase of one series is concluded from.

    Attributes:
        named: The phase by its own words, and why.
        contrast: Whether a contrast agent had been given, as far as it is known.
        at: When it was acquired, in seconds of the day.
        injected: When the injection began, by its own tag (0018,1042).
        tracking: It tracks the bolus.
    """

    uid: str
    named: Derived[Phase]
    contrast: bool | None
    at: float | None
    injected: float | None
    tracking: bool

    @classmethod
    def read(
        cls, uid: str, tags: Mapping[str, Any], instance_tags: Sequence[Mapping[str, Any]], contrast: bool | None
    ) -> Acquired:
        """From the tags of a series, with those of its study."""
        return cls(
            uid=uid,
            named=by_words(tags),
            contrast=contrast,
            at=_earliest(tags, instance_tags),
            injected=seconds_of_day(text(tags, "ContrastBolusStartTime")),
            tracking=_TRACKING.search(plain(text(tags, "SeriesDescription"))) is not None,
        )


def phases(series: Sequence[Acquired], study: Mapping[str, Any]) -> dict[str, Derived[Phase]]:
    """Series UID -> phase, for the CT series of one study; None where it cannot be known."""
    timeline = _Timeline.of(series)
    return {one.uid: _phase(one, timeline, study) for one in series}


@dataclass(frozen=True)
class _Timeline:
    """What the series of a study say together of the injection.

    Attributes:
        injections: When the injection began, and how that is known; the surest first.
        given: When the series with contrast were acquired, in their order.
    """

    injections: tuple[tuple[float, str], ...]
    given: tuple[float, ...]

    @classmethod
    def of(cls, series: Sequence[Acquired]) -> _Timeline:
        given = {one.at for one in series if one.contrast and one.at is not None and not one.tracking}
        return cls(tuple(dict.fromkeys(_injections(series))), tuple(sorted(given)))


def _injections(series: Sequence[Acquired]) -> Iterator[tuple[float, str]]:
    yield from (
        (one.injected, "ContrastBolusStartTime of another series") for one in series if one.injected is not None
    )
    acquired = [(one, one.at) for one in series if one.at is not None]
    yield from ((at - TRACKED_FROM, "by the bolus tracking") for one, at in acquired if one.tracking)
    for phase, typical in _TYPICAL.items():
        yield from ((at - typical, f"by the {phase} series") for one, at in acquired if one.named.value is phase)


def _phase(one: Acquired, timeline: _Timeline, study: Mapping[str, Any]) -> Derived[Phase]:
    if one.named.value is not None:
        return one.named
    if one.contrast is False:
        return Derived(Phase.NATIVE, "no contrast agent was given")
    between = None
    for found in () if one.at is None or one.tracking else _by_times(one, one.at, timeline):
        if found.value is not None:
            return found
        between = between or found
    if one.contrast and between is None and one.named.because == NO_WORDS:
        return by_study_words(study)
    return between or one.named


def _by_times(one: Acquired, at: float, timeline: _Timeline) -> Iterator[Derived[Phase]]:
    own = () if one.injected is None else ((one.injected, "ContrastBolusStartTime"),)
    for began, whence in (*own, *timeline.injections):
        delay = _after(began, at)
        if delay is not None:
            said = f"{delay:.0f} s after the injection" if delay >= 0 else "before the injection"
            yield Derived(by_delay(delay), f"acquired {said} ({whence})")
    later = _after(at, timeline.given[0]) if timeline.given else None
    if one.contrast is None and later is not None and later > 0:
        yield Derived(Phase.NATIVE, "names no contrast agent, and came before the series that do")
    if one.contrast:
        yield from _by_neighbours(at, timeline.given)


def _by_neighbours(at: float, given: Sequence[float]) -> Iterator[Derived[Phase]]:
    """Acquisitions with contrast of which the first two follow each other as arterial and portal phase do."""
    gap = given[1] - given[0] if len(given) > 1 else 0.0
    if _ARTERIAL_TO_PORTAL[0] <= gap <= _ARTERIAL_TO_PORTAL[1]:
        phase = Phase.ARTERIAL if at == given[0] else by_delay(at - given[1] + _TYPICAL[Phase.PORTAL])
        yield Derived(phase, f"the first two acquisitions with contrast are {gap:.0f} s apart")


def _after(began: float, at: float) -> float | None:
    """Seconds from one time of day to another, over midnight too; None when they cannot belong together."""
    delay = (at - began + 43200) % 86400 - 43200
    return delay if abs(delay) <= _FAR_APART else None


def _earliest(tags: Mapping[str, Any], instance_tags: Sequence[Mapping[str, Any]]) -> float | None:
    given = [tags, *instance_tags]
    times = [seconds_of_day(text(one, "AcquisitionTime")) for one in given]
    times += [seconds_of_day(text(one, "AcquisitionDateTime")[8:]) for one in given]
    return min((time for time in times if time is not None), default=None)


def seconds_of_day(time: str) -> float | None:
    """A DICOM time (HHMMSS.ffffff, in old files HH:MM:SS) in seconds; None for what is none, or has no seconds."""
    match = re.match(r"(\d\d):?(\d\d):?(\d\d(?:\.\d+)?)", time)
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None
