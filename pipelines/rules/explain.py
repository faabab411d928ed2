"""Why a study went where it went: every rule, condition and value seen, and why the best series was preferred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.registry import phase_of
from pipelines.rules.derived.kinds import Phase
from pipelines.rules.matching import ConditionCheck, check_series, check_study, distance, shown
from pipelines.rules.model import Role, Rule, RuleSet
from pipelines.rules.preference import why_preferred
from pipelines.rules.routing import PlannedJob, RoleAssignment, Unmatched, assign_roles, plan_jobs, route, why_unmatched
from pipelines.rules.study.attributes import REASONED, SeriesAttributes, StudyAttributes
from pipelines.rules.tag_values import number, text


@dataclass(frozen=True)
class SeriesSummary:
    """One series of the study, as the rules see it.

    Attributes:
        number: Series Number, '' if none.
        derived: plane, sequence, contrast, phase, localizer, units -> value in words ("unknown" when not knowable).
        because: The same names -> why.
    """

    series_instance_uid: str
    number: str
    description: str
    modality: str
    images: int
    source_ae: str
    derived: Mapping[str, str]
    because: Mapping[str, str]


@dataclass(frozen=True)
class SeriesVerdict:
    """One series held against one role.

    Attributes:
        rank: 1 for the series that is preferred of those that fit; None when it does not fit.
        preferred: Why it comes before the next one that fits; '' for the last.
    """

    series_instance_uid: str
    checks: tuple[ConditionCheck, ...]
    fits: bool
    rank: int | None
    preferred: str


@dataclass(frozen=True)
class RoleExplanation:
    """One role of a rule.

    Attributes:
        taken_by: UID of the series that takes it; None when none does.
        because: Why that series and no other, or why none.
        series: The series that fit, best first, then the others, nearest first.
    """

    role: str
    optional: bool
    taken_by: str | None
    because: str
    series: tuple[SeriesVerdict, ...]


@dataclass(frozen=True)
class RuleExplanation:
    """One rule.

    Attributes:
        takes: Whether the rule takes the study.
        because: The nearest miss in one line; '' when the rule takes the study.
    """

    rule: str
    pipeline: str
    takes: bool
    because: str
    priority: str
    send_to: tuple[str, ...]
    study: tuple[ConditionCheck, ...]
    roles: tuple[RoleExplanation, ...]


@dataclass(frozen=True)
class Explanation:
    """What every rule makes of a study. Carries no patient's name; values that say who it is are hidden.

    Attributes:
        because: The nearest miss of every rule where none takes the study, as the daemon writes it down; else empty.
        jobs: What the daemon would make of it; rules that read the same series with the same pipeline share a job.
    """

    study_instance_uid: str
    rules_digest: str
    series: tuple[SeriesSummary, ...]
    rules: tuple[RuleExplanation, ...]
    because: tuple[str, ...]
    jobs: tuple[PlannedJob, ...]

    @property
    def takers(self) -> tuple[RuleExplanation, ...]:
        """The rules that take the study."""
        return tuple(rule for rule in self.rules if rule.takes)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data that JSON can hold."""
        return asdict(self)


def explain(study: StudyAttributes, ruleset: RuleSet) -> Explanation:
    """Tries all rules on a study, as `route` does, and keeps every condition and the value that it found."""
    by_number = sorted(study.series, key=lambda series: number(series.tags, "SeriesNumber") or 0.0)
    study = replace(study, series=tuple(by_number))
    routes = route(study, ruleset)
    return Explanation(
        study_instance_uid=study.study_instance_uid,
        rules_digest=ruleset.digest,
        series=tuple(_summary(study, series) for series in study.series),
        rules=tuple(_rule(study, rule) for rule in ruleset),
        because=routes.reasons if isinstance(routes, Unmatched) else (),
        jobs=() if isinstance(routes, Unmatched) else tuple(plan_jobs(routes)),
    )


def _summary(study: StudyAttributes, series: SeriesAttributes) -> SeriesSummary:
    derived = {name: study.derived(series, name) for name in REASONED}
    return SeriesSummary(
        series_instance_uid=series.series_instance_uid,
        number=text(series.tags, "SeriesNumber"),
        description=shown("SeriesDescription", study.values(series, "SeriesDescription")),
        modality=text(series.tags, "Modality"),
        images=series.images,
        source_ae=series.source_ae,
        derived={name: shown(name, study.values(series, name)) for name in derived},
        because={name: found.because for name, found in derived.items()},
    )


def _rule(study: StudyAttributes, rule: Rule) -> RuleExplanation:
    checks = check_study(study, rule)
    found = assign_roles(study, rule)
    asked = all(check.passed for check in checks)
    takes = asked and not found.unfilled
    return RuleExplanation(
        rule=rule.name,
        pipeline=rule.pipeline,
        takes=takes,
        because="" if takes else why_unmatched(study, rule, found if asked else None),
        priority=str(rule.priority),
        send_to=rule.send_to,
        study=checks,
        roles=tuple(_role(study, name, rule, found) for name in rule.series),
    )


def _role(study: StudyAttributes, name: str, rule: Rule, found: RoleAssignment) -> RoleExplanation:
    role, candidates, phase = rule.series[name], found.candidates[name], phase_of(rule.pipeline)
    taker = found.roles.get(name)
    return RoleExplanation(
        role=name,
        optional=role.optional,
        taken_by=taker.series_instance_uid if taker else None,
        because=_why_taken(study, name, found, phase),
        series=(*_fitting(study, role, candidates, phase), *_others(study, role, candidates)),
    )


def _why_taken(study: StudyAttributes, name: str, found: RoleAssignment, phase: Phase | None) -> str:
    candidates, taker = found.candidates[name], found.roles.get(name)
    if taker is None:
        return "every series that fits has another role" if candidates else "no series fits"
    if len(candidates) == 1:
        return "the only series that fits"
    better = [one for one in candidates[: candidates.index(taker)] if one in found.roles.values()]
    if better:
        return f"{len(better)} better one{'s have' if len(better) > 1 else ' has'} another role"
    return why_preferred(study, taker, candidates[candidates.index(taker) + 1], phase)


def _fitting(
    study: StudyAttributes, role: Role, candidates: Sequence[SeriesAttributes], phase: Phase | None
) -> list[SeriesVerdict]:
    verdicts = []
    for rank, series in enumerate(candidates, start=1):
        following = candidates[rank] if rank < len(candidates) else None
        preferred = why_preferred(study, series, following, phase) if following else ""
        checks = check_series(study, series, role)
        verdicts.append(SeriesVerdict(series.series_instance_uid, checks, True, rank, preferred))
    return verdicts


def _others(study: StudyAttributes, role: Role, candidates: Sequence[SeriesAttributes]) -> list[SeriesVerdict]:
    fitting = {series.series_instance_uid for series in candidates}
    verdicts = [
        SeriesVerdict(series.series_instance_uid, check_series(study, series, role), False, None, "")
        for series in study.series
        if series.series_instance_uid not in fitting
    ]
    return sorted(verdicts, key=lambda verdict: distance([check.key for check in verdict.checks if not check.passed]))
