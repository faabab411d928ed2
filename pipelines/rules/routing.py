"""From a study to the pipelines that read it: a pure function of the study and the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.registry import phase_of
from pipelines.rules.matching import (
    IMAGES_ONLY,
    distance,
    failed_conditions,
    failed_study_conditions,
    fits,
    is_identifying,
    shown,
    wanted,
)
from pipelines.rules.model import Role, Rule, RulePriority, RuleSet
from pipelines.rules.preference import ranked
from pipelines.rules.study.attributes import DERIVED, SeriesAttributes, StudyAttributes
from pipelines.rules.tag_values import Scalar

NO_RULES = "there are no rules, so no study is read; see docs/rules.md"
_MOST_SHOWN = 4


@dataclass(frozen=True)
class Route:
    """A rule takes the study.

    Attributes:
        roles: Role of the pipeline -> UID of the series that takes it; optional roles without a series are left out.
        send_to: Destinations of the results.
    """

    rule: str
    pipeline: str
    roles: Mapping[str, str]
    priority: RulePriority
    send_to: tuple[str, ...]


@dataclass(frozen=True)
class PlannedJob:
    """One job: the routes that read the same series with the same pipeline.

    Attributes:
        rules: The rules that ask for it; the job bears the first one's name.
        priority: The most urgent of theirs.
        send_to: The destinations of all of them.
    """

    rules: tuple[str, ...]
    pipeline: str
    roles: Mapping[str, str]
    priority: RulePriority
    send_to: tuple[str, ...]


@dataclass(frozen=True)
class Unmatched:
    """No rule takes the study; one readable line per rule says what came nearest. Never carries a patient's name."""

    reasons: tuple[str, ...]


@dataclass(frozen=True)
class RoleAssignment:
    """Which series takes which role of a rule.

    Attributes:
        roles: Role -> series; optional roles may be missing.
        candidates: Role -> all series that fit, best first.
        unfilled: Required roles that no series is left for; the rule takes the study only if there is none.
    """

    roles: Mapping[str, SeriesAttributes]
    candidates: Mapping[str, Sequence[SeriesAttributes]]
    unfilled: tuple[str, ...]


def route(study: StudyAttributes, ruleset: RuleSet) -> list[Route] | Unmatched:
    """Tries all rules on a study; a study may go to several pipelines.

    Returns:
        A route for every rule that takes the study, in the order of the rules; Unmatched when there is none.
    """
    routes, reasons = [], []
    for rule in ruleset:
        found = None if failed_study_conditions(study, rule) else assign_roles(study, rule)
        if found is None or found.unfilled:
            reasons.append(why_unmatched(study, rule, found))
        else:
            roles = {role: series.series_instance_uid for role, series in found.roles.items()}
            routes.append(Route(rule.name, rule.pipeline, roles, rule.priority, rule.send_to))
    return routes or Unmatched(tuple(reasons) or (NO_RULES,))


def plan_jobs(routes: Sequence[Route]) -> list[PlannedJob]:
    """The jobs of some routes: routes that read the same series with the same pipeline share one."""
    jobs: list[PlannedJob] = []
    for one in routes:
        twin = next((job for job in jobs if job.pipeline == one.pipeline and job.roles == one.roles), None)
        if twin is None:
            jobs.append(PlannedJob((one.rule,), one.pipeline, one.roles, one.priority, one.send_to))
        else:
            jobs[jobs.index(twin)] = _shared(twin, one)
    return jobs


def _shared(job: PlannedJob, one: Route) -> PlannedJob:
    return replace(
        job,
        rules=(*job.rules, one.rule),
        priority=min(job.priority, one.priority, key=list(RulePriority).index),
        send_to=tuple(dict.fromkeys((*job.send_to, *one.send_to))),
    )


def assign_roles(study: StudyAttributes, rule: Rule) -> RoleAssignment:
    """Assigns the best series that fits to every role; a series takes one role of a rule at most.

    Roles choose in the order of the file, required ones first. A required role that finds all its series taken makes
    another one give way to its next choice, if it has one; an optional role takes what is left.
    """
    candidates = {
        name: ranked(study, [series for series in study.series if fits(study, series, role)], phase_of(rule.pipeline))
        for name, role in rule.series.items()
    }
    taken: dict[str, str] = {}  # series UID -> role
    for name in sorted(rule.series, key=lambda name: rule.series[name].optional):
        movable = set() if rule.series[name].optional else set(candidates)
        _assign(name, candidates, taken, movable)
    chosen = {role: uid for uid, role in taken.items()}
    roles = {
        name: next(series for series in candidates[name] if series.series_instance_uid == chosen[name])
        for name in rule.series
        if name in chosen
    }
    unfilled = tuple(name for name, role in rule.series.items() if name not in chosen and not role.optional)
    return RoleAssignment(roles, candidates, unfilled)


def _assign(
    name: str, candidates: Mapping[str, Sequence[SeriesAttributes]], taken: dict[str, str], movable: set[str]
) -> bool:
    """Finds a series for a role: the best free one, else one whose holder can move (an augmenting path)."""
    for series in candidates[name]:
        if series.series_instance_uid not in taken:
            taken[series.series_instance_uid] = name
            return True
    for series in candidates[name]:
        holder = taken[series.series_instance_uid]
        if holder in movable and holder != name and _assign(holder, candidates, taken, movable - {name, holder}):
            taken[series.series_instance_uid] = name
            return True
    return False


def why_unmatched(study: StudyAttributes, rule: Rule, found: RoleAssignment | None) -> str:
    """Why a rule does not take a study, in one line: the condition that stands in the way of the nearest series.

    Args:
        study: The study.
        rule: The rule that does not take it.
        found: What `assign_roles` returned, with an unfilled role; None when a study condition fails.
    """
    if found is None:
        key = failed_study_conditions(study, rule)[0]
        asked = wanted(key, rule.study.conditions[key])
        return f"rule {rule.name}: study: wants {key} {asked}; saw {_quoted(key, [study.study_values(key)])}"
    name = found.unfilled[0]
    if found.candidates[name]:
        holders = ", ".join(role for role in found.roles)
        return f"rule {rule.name}: role {name}: every series that fits is needed for another role ({holders})"
    return f"rule {rule.name}: role {name}: {_nothing_for(study, rule.series[name])}"


def _nothing_for(study: StudyAttributes, role: Role) -> str:
    """The conditions that the nearest series miss, and what those series have instead."""
    if not study.series:
        return "the study has no series"
    missed = {series.series_instance_uid: failed_conditions(study, series, role) for series in study.series}
    nearest = min(map(distance, missed.values()))
    near = [series for series in study.series if distance(missed[series.series_instance_uid]) == nearest]
    keys = missed[near[0].series_instance_uid]
    alike = [series for series in near if missed[series.series_instance_uid] == keys]
    if "Modality" in keys:  # what else is wrong with a CT that should be an MR is of no interest
        keys = ["Modality"]
    asked = " and ".join(f"{key} {_wanted(role, key)}" for key in keys)
    saw = "; ".join(_saw(study, alike, key, keys) for key in keys)
    return f"no series with {asked}; saw {saw}"


def _wanted(role: Role, key: str) -> str:
    return wanted(key, role.conditions.get(key, IMAGES_ONLY))


def _saw(study: StudyAttributes, series: Sequence[SeriesAttributes], key: str, keys: Sequence[str]) -> str:
    values = _quoted(key, [study.values(one, key) for one in series])
    return f"{key} {values}" if len(keys) > 1 else values


def _quoted(key: str, seen: Sequence[tuple[Scalar, ...]]) -> str:
    """The different values, quoted where they are text; the first few."""
    different = list(dict.fromkeys(seen))
    said = []
    for values in different[:_MOST_SHOWN]:
        one = shown(key, values)
        quoted = values and isinstance(values[0], str) and key not in DERIVED and not is_identifying(key)
        said.append(f"'{one}'" if quoted else one)
    return ", ".join(said) + (f" and {len(different) - _MOST_SHOWN} more" if len(different) > _MOST_SHOWN else "")
