"""Rules that parse and can never hold: warnings for `scanward check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydicom.datadict import dictionary_VR, keyword_dict

from dicomio.files.vr import LONGEST
from pipelines.rules.conditions import Condition
from pipelines.rules.model import Rule, RuleSet
from pipelines.rules.tag_values import Scalar, scalars

_ASKS_FOR = {"sequence": "MR", "phase": "CT"}
"""What is known of one modality only."""


def lint_rules(rules: RuleSet) -> list[str]:
    """Warnings about what can never hold, with the place and what to do; [] if there are none."""
    return [f"rule {rule.name}: {doubt}" for rule in rules for doubt in _of_rule(rule)]


def _of_rule(rule: Rule) -> Iterator[str]:
    study = rule.study.conditions
    roles = [(f"series.{name}", role.conditions) for name, role in rule.series.items()]
    for place, conditions in (("study", study), *roles):
        for name, condition in conditions.items():
            yield from (f"{place}.{name}: {doubt}" for doubt in _of_condition(name, condition))
        if place != "study":
            yield from (f"{place}.{doubt}" for doubt in _between(study, conditions))


def _of_condition(name: str, condition: Condition) -> Iterator[str]:
    vr = dictionary_VR(keyword_dict[name]) if name in keyword_dict else ("AE" if name == "source_ae" else "")
    for part in (condition, *([condition.not_] if condition.not_ else [])):
        yield from _of_values(vr, _listed(part))
    if not _may_hold(condition, condition):
        yield f"can never hold: nothing is {condition.words()} at once"


def _of_values(vr: str, values: tuple[Scalar, ...]) -> Iterator[str]:
    for value in (part for one in values for part in scalars(one) if isinstance(part, str)):
        if vr == "CS" and value != value.upper():
            yield f"{value!r} never comes: codes are in capitals; write {value.upper()}"
        if len(value) > LONGEST.get(vr, len(value)):
            yield f"{value!r} never comes: a value has at most {LONGEST[vr]} characters"


def _between(study: Mapping[str, Condition], role: Mapping[str, Condition]) -> Iterator[str]:
    for name in role.keys() & study.keys() - {"images"}:
        if name in keyword_dict and not (_may_hold(role[name], study[name]) and _may_hold(study[name], role[name])):
            yield f"{name}: can never hold: {role[name].words()} here, {study[name].words()} under study"
    modality = role.get("Modality", study.get("Modality"))
    for name, needed in _ASKS_FOR.items():
        if name in role and modality is not None and _listed(modality) and not modality.holds((needed,)):
            yield f"{name}: can never hold: it is known of {needed} only, and Modality is {modality.words()}"


def _may_hold(values_of: Condition, other: Condition) -> bool:
    """Whether any of the values that one condition names fits the other; True where it names none."""
    listed = _listed(values_of)
    return not listed or any(other.holds(scalars(value)) for value in listed)


def _listed(condition: Condition) -> tuple[Scalar, ...]:
    """The values that a condition names; of `equals` and `in` together the first decides."""
    return condition.in_ or () if condition.equals is None else (condition.equals,)
