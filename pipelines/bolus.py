"""The contrast phases of a CT study by its words, its contrast tags and when its series were acquired.

A series that names its phase has it. For the others the start of the injection is sought: as a tag states it, else from
the bolus tracking, else from a series that names its phase; the time from there to the acquisition tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.derived import Derived
from pipelines.kinds import Phase
from pipelines.phase import NO_WORDS, by_delay, by_study_words, by_words
from pipelines.tagvalues import text
from pipelines.wording import any_of, plain

_TRACKING = any_of(r"\bmonitoring|smart ?prep|bolus ?track|\btracker\b|care ?bolus|\bsurestart")
TRACKED_FROM = 10.0
"""Seconds from the injection to the first image of the bolus tracking, as protocols have it."""
_TYPICAL = {Phase.PORTAL: 70.0, Phase.ARTERIAL: 30.0}
"""Seconds after the injection; the surest first."""
_ARTERIAL_TO_PORTAL = (20.0, 50.0)
_FAR_APART = 3 * 3600.0


@dataclass(frozen=True)
class Acquired:
    """What tells the phase of one series.

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
    return {one.uid: _phase(one, series, study) for one in series}


def _phase(one: Acquired, series: Sequence[Acquired], study: Mapping[str, Any]) -> Derived[Phase]:
    if one.named.value is not None:
        return one.named
    if one.contrast is False:
        return Derived(Phase.NATIVE, "no contrast agent was given")
    timed = list(_by_times(one, series))
    for found in timed:
        if found.value is not None:
            return found
    if one.contrast and not timed and one.named.because == NO_WORDS:
        return by_study_words(study)
    return next(iter(timed), one.named)


def _by_times(one: Acquired, series: Sequence[Acquired]) -> Iterator[Derived[Phase]]:
    if one.at is None or one.tracking:
        return
    for began, whence in _injections(one, series):
        delay = _after(began, one.at)
        if delay is not None:
            said = f"{delay:.0f} s after the injection" if delay >= 0 else "before the injection"
            yield Derived(by_delay(delay), f"acquired {said} ({whence})")
    for step in (_by_agents, _by_neighbours):
        found = step(one, one.at, series)
        if found is not None:
            yield found


def _injections(one: Acquired, series: Sequence[Acquired]) -> Iterator[tuple[float, str]]:
    """When the injection began, and how that is known; the surest first."""
    if one.injected is not None:
        yield one.injected, "ContrastBolusStartTime"
    for other in series:
        if other.injected is not None and other is not one:
            yield other.injected, "ContrastBolusStartTime of another series"
    for other in series:
        if other.tracking and other.at is not None:
            yield other.at - TRACKED_FROM, "by the bolus tracking"
    for phase, typical in _TYPICAL.items():
        for other in series:
            if other.named.value is phase and other.at is not None:
                yield other.at - typical, f"by the {phase} series"


def _by_agents(one: Acquired, at: float, series: Sequence[Acquired]) -> Derived[Phase] | None:
    """A series without a contrast agent that came before all that have one."""
    given = [other.at for other in series if other.contrast and other.at is not None]
    later = _after(at, min(given)) if given else None
    if one.contrast is None and later is not None and later > 0:
        return Derived(Phase.NATIVE, "names no contrast agent, and came before the series that do")
    return None


def _by_neighbours(one: Acquired, at: float, series: Sequence[Acquired]) -> Derived[Phase] | None:
    """Acquisitions with contrast of which the first two follow each other as arterial and portal phase do."""
    times = sorted({other.at for other in series if other.contrast and other.at is not None and not other.tracking})
    if not one.contrast or len(times) < 2:
        return None
    gap = times[1] - times[0]
    if not _ARTERIAL_TO_PORTAL[0] <= gap <= _ARTERIAL_TO_PORTAL[1]:
        return None
    phase = Phase.ARTERIAL if at == times[0] else by_delay(at - times[1] + _TYPICAL[Phase.PORTAL])
    return Derived(phase, f"the first two acquisitions with contrast are {gap:.0f} s apart")


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
