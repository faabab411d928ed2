"""What is wrong with a rule file, and what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pydantic_core import ErrorDetails

from pipelines.rules.model import KeyPath, Rule, RulePriority, repeated_names
from pipelines.rules.study.keywords import closest


class AsksForRoles(Protocol):
    """A pipeline, as far as rules are concerned."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Series that it cannot do without."""

    @property
    def optional_roles(self) -> tuple[str, ...]:
        """Series that help when they are there."""


Pipelines = Collection[str] | Mapping[str, AsksForRoles]
"""Names of the pipelines that there are; given as a mapping, their roles are checked too."""


_KEYS: Mapping[str, Sequence[str]] = {
    "top": ("rules",),
    "rule": tuple(Rule.model_fields),
    "condition": ("equals", "in", "matches", "min", "max", "exists", "not"),
}
_REQUIRED = {
    "rules": "is required: a list of rules",
    "name": "is required: name the rule, for logs and the audit",
    "pipeline": "is required: which pipeline reads the study",
    "series": "is required: the roles of the pipeline, each with conditions, such as flair: {Modality: MR}",
    "send_to": "is required: name the destinations of the results, or [] to keep them here",
}


_BY_TYPE = {
    "string_pattern_mismatch": "{value!r} is no name; use up to 64 letters, digits, dots, dashes, underscores",
    "string_type": "must be text, in quotes where it looks like something else",
    "too_short": "is empty; give at least one",
    "tuple_type": "must be a list, such as [pacs]",
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "mapping_type": "must be a mapping of keys to values",
    "int_type": "must be a number, not {value!r}",
    "float_type": "must be a number, not {value!r}",
    "bool_type": "must be true or false",
}


def advice(item: ErrorDetails) -> str:
    """What is wrong and what to do, for people."""
    place, last = item["loc"], str(item["loc"][-1]) if item["loc"] else ""
    match item["type"]:
        case "missing":
            return _REQUIRED.get(last, "is required")
        case "extra_forbidden":
            known = _KEYS["top" if len(place) == 1 else "rule" if len(place) == 3 else "condition"]
            return f"unknown key{_meant(last, known)}"
        case "enum":
            return f"cannot be {item['input']}{_meant(str(item['input']), [*RulePriority])}"
    found = _BY_TYPE.get(item["type"])
    if found:
        return found.format(value=item["input"])
    return item["msg"].removeprefix("Value error, ")


def _meant(name: str, known: Collection[str]) -> str:
    """`; did you mean this? There is: this, that`."""
    meant = closest(name, tuple(known))
    return f"{f'; did you mean {meant}? There is' if meant else '; there is'}: {', '.join(known) or 'none'}"


def wrong_names(
    data: Mapping[str, Any], pipelines: Pipelines | None, destinations: Collection[str] | None
) -> Iterator[tuple[KeyPath, str]]:
    """Rules of the same name, and names of pipelines, roles and destinations that there are not.

    Looks at the plain data of the file, so that a mistake elsewhere in a rule does not hide these.
    """
    rules = data.get("rules")
    listed = [rule if isinstance(rule, dict) else {} for rule in rules] if isinstance(rules, list) else []
    yield from ((("rules", *place), message) for place, message in repeated_names(rule.get("name") for rule in listed))
    for number, rule in enumerate(listed):
        yield from _wrong_pipeline(rule, ("rules", number), pipelines)
        if destinations is not None:
            yield from _wrong_destinations(rule, ("rules", number, "send_to"), destinations)


def _wrong_pipeline(rule: Mapping[str, Any], at: KeyPath, pipelines: Pipelines | None) -> Iterator[tuple[KeyPath, str]]:
    name, series = rule.get("pipeline"), rule.get("series")
    if pipelines is None or not isinstance(name, str):
        return
    if name not in pipelines:
        yield (*at, "pipeline"), _not_there("pipeline", name, pipelines)
    elif isinstance(pipelines, Mapping) and isinstance(series, dict):
        yield from _wrong_roles(name, pipelines[name], series, (*at, "series"))


def _wrong_destinations(rule: Mapping[str, Any], at: KeyPath, known: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    names = rule.get("send_to")
    for index, name in enumerate(names if isinstance(names, list) else ()):
        if isinstance(name, str) and name not in known:
            yield (*at, index), _not_there("destination", name, known)


def _not_there(what: str, name: str, known: Collection[str]) -> str:
    return f"there is no {what} {name}{_meant(name, sorted(known))}"


def _wrong_roles(
    name: str, pipeline: AsksForRoles, series: Mapping[Any, Any], at: KeyPath
) -> Iterator[tuple[KeyPath, str]]:
    known = (*pipeline.roles, *pipeline.optional_roles)
    for role, conditions in series.items():
        optional = isinstance(conditions, dict) and conditions.get("optional") is True
        if role not in known:
            yield (*at, str(role)), f"pipeline {name} has no role {role}; it asks for {', '.join(known)}"
        elif role in pipeline.roles and optional:
            yield (*at, role, "optional"), f"pipeline {name} cannot do without {role}; remove optional"
    for role in pipeline.roles:
        if role not in series:
            yield at, f"pipeline {name} cannot do without {role}; say which series that is"
