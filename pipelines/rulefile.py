"""The rule file: read with every problem at its place, and read again when it changes, but never a broken one."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog
import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipelines.errors import RuleProblem, RulesInvalid
from pipelines.ruleloader import RuleLoader
from pipelines.rulemodel import Priority, Rule, RuleSet
from pipelines.subjects import closest
from pipelines.yamlfile import LocatedYaml, YamlFault

log = structlog.get_logger(__name__)

Place = tuple[str | int, ...]


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


def load_rules(
    path: Path, *, known_pipelines: Pipelines | None = None, known_destinations: Collection[str] | None = None
) -> RuleSet:
    """Reads and checks a rule file.

    Args:
        path: The YAML file.
        known_pipelines: If given, rules may name only these; their roles are checked when it is a mapping to them.
        known_destinations: If given, `send_to` may name only these.

    Raises:
        RulesInvalid: With every problem: file, line, column, key, and what to do about it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RulesInvalid(path=path, problems=(_whole(path, "there is no such file"),)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RulesInvalid(path=path, problems=(_whole(path, f"cannot be read: {error}"),)) from error
    return parse_rules(text, path, known_pipelines=known_pipelines, known_destinations=known_destinations)


def parse_rules(
    text: str,
    path: Path | str = "rules",
    *,
    known_pipelines: Pipelines | None = None,
    known_destinations: Collection[str] | None = None,
) -> RuleSet:
    """Like `load_rules`, for the text of a file; `path` stands for the file in messages."""
    path = Path(path)
    try:
        places = LocatedYaml.parse(text, str(path))
        data = yaml.load(text, Loader=RuleLoader)  # noqa: S506 - a SafeLoader with fewer types
    except yaml.YAMLError as error:  # characters that no text may have
        raise RulesInvalid(path=path, problems=(_whole(path, f"is no YAML: {error}"),)) from error
    except YamlFault as fault:
        raise RulesInvalid(path=path, problems=(_from_yaml(path, str(fault)),)) from fault
    except RecursionError as error:
        raise RulesInvalid(path=path, problems=(_whole(path, "an alias refers to itself"),)) from error
    except (TypeError, ValueError) as error:  # a key that is a list, a date that there is not
        raise RulesInvalid(path=path, problems=(_whole(path, f"cannot be understood: {error}"),)) from error
    try:
        rules = RuleSet.model_validate(data)
    except ValidationError as error:
        problems = [_problem(places, item["loc"], _advice(item)) for item in error.errors()]
    else:
        found = _unknown_names(rules, known_pipelines, known_destinations)
        problems = [_problem(places, place, message) for place, message in found]
        if not problems:
            return rules
    raise RulesInvalid(path=path, problems=tuple(sorted(problems, key=lambda problem: (problem.line, problem.column))))


def _whole(path: Path, message: str) -> RuleProblem:
    return RuleProblem(file=str(path), line=1, column=1, key="", message=message)


def _from_yaml(path: Path, fault: str) -> RuleProblem:
    """`rules.yaml:3:7: message`, taken apart again."""
    line, _, rest = fault.removeprefix(f"{path}:").partition(":")
    column, _, message = rest.partition(": ")
    if line.isdigit() and column.isdigit():
        return RuleProblem(file=str(path), line=int(line), column=int(column), key="", message=message)
    return _whole(path, fault.removeprefix(f"{path}: "))


def _problem(places: LocatedYaml, place: Sequence[str | int], message: str) -> RuleProblem:
    line, column = places.where(place).rsplit(":", 2)[1:]
    return RuleProblem(
        file=places.name, line=int(line), column=int(column), key=_key(places.data, place), message=message
    )


def _key(data: Mapping[str, Any], place: Sequence[str | int]) -> str:
    """The place in words: rules are named, not numbered."""
    parts = [str(part) for part in place]
    if len(place) >= 2 and place[0] == "rules" and isinstance(place[1], int):
        rules = data.get("rules")
        rule = rules[place[1]] if isinstance(rules, list) else None
        name = rule.get("name") if isinstance(rule, dict) else None
        parts[1] = str(name) if isinstance(name, str) and name else f"number {place[1] + 1}"
    return ".".join(parts)


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


_ADVICE = {
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


def _advice(item: ErrorDetails) -> str:
    """What is wrong and what to do, for people."""
    place, last = item["loc"], str(item["loc"][-1]) if item["loc"] else ""
    match item["type"]:
        case "missing":
            return _REQUIRED.get(last, "is required")
        case "extra_forbidden":
            known = _KEYS["top" if len(place) == 1 else "rule" if len(place) == 3 else "condition"]
            return f"unknown key{_meant(last, known)}"
        case "enum":
            return f"cannot be {item['input']}{_meant(str(item['input']), [*Priority])}"
    advice = _ADVICE.get(item["type"])
    if advice:
        return advice.format(value=item["input"])
    return item["msg"].removeprefix("Value error, ")


def _meant(name: str, known: Collection[str]) -> str:
    """`; did you mean this? There is: this, that`."""
    meant = closest(name, tuple(known))
    return f"{f'; did you mean {meant}? There is' if meant else '; there is'}: {', '.join(known) or 'none'}"


def _unknown_names(
    rules: RuleSet, pipelines: Pipelines | None, destinations: Collection[str] | None
) -> Iterator[tuple[Place, str]]:
    for number, rule in enumerate(rules.rules):
        at: Place = ("rules", number)
        if pipelines is not None and rule.pipeline not in pipelines:
            yield (*at, "pipeline"), _not_there("pipeline", rule.pipeline, pipelines)
        elif isinstance(pipelines, Mapping):
            yield from _wrong_roles(rule, pipelines[rule.pipeline], (*at, "series"))
        if destinations is not None:
            for index, name in enumerate(rule.send_to):
                if name not in destinations:
                    yield (*at, "send_to", index), _not_there("destination", name, destinations)


def _not_there(what: str, name: str, known: Collection[str]) -> str:
    return f"there is no {what} {name}{_meant(name, sorted(known))}"


def _wrong_roles(rule: Rule, pipeline: AsksForRoles, at: Place) -> Iterator[tuple[Place, str]]:
    known = (*pipeline.roles, *pipeline.optional_roles)
    for name, role in rule.series.items():
        if name not in known:
            yield (*at, name), f"pipeline {rule.pipeline} has no role {name}; it asks for {', '.join(known)}"
        elif name in pipeline.roles and role.optional:
            yield (*at, name, "optional"), f"pipeline {rule.pipeline} cannot do without {name}; remove optional"
    for name in pipeline.roles:
        if name not in rule.series:
            yield at, f"pipeline {rule.pipeline} cannot do without {name}; say which series that is"


@dataclass(frozen=True)
class Reloaded:
    """The file had changed and is in force now."""

    rules: RuleSet


@dataclass(frozen=True)
class Unchanged:
    """Nothing to do; `problems` says what is still wrong with the file, if it was rejected before."""

    problems: tuple[RuleProblem, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """The file had changed and is wrong; the rules in force stay."""

    problems: tuple[RuleProblem, ...]


class RuleFile:
    """A rule file that may change while the daemon runs. Not for several threads at once.

    Raises:
        RulesInvalid: The file is wrong at the start.
    """

    def __init__(
        self,
        path: Path,
        *,
        known_pipelines: Pipelines | None = None,
        known_destinations: Collection[str] | None = None,
    ) -> None:
        self.path = path
        self._known: dict[str, Any] = {"known_pipelines": known_pipelines, "known_destinations": known_destinations}
        self._stamp = _stamp(path)
        self._current = load_rules(path, **self._known)
        self._problems: tuple[RuleProblem, ...] = ()

    @property
    def current(self) -> RuleSet:
        """The rules in force; always valid ones."""
        return self._current

    def refresh(self) -> Reloaded | Unchanged | Rejected:
        """Looks whether the file has changed, and takes it if it is right. Cheap when it has not."""
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return Unchanged(self._problems)
        self._stamp = stamp
        try:
            rules = load_rules(self.path, **self._known)
        except RulesInvalid as error:
            return self._reject(error.problems)
        self._problems = ()
        if rules == self._current:
            return Unchanged()
        before, self._current = self._current, rules
        log.info("rules_reloaded", file=str(self.path), rules=len(rules), digest=rules.digest, before=before.digest)
        return Reloaded(rules)

    def _reject(self, problems: tuple[RuleProblem, ...]) -> Unchanged | Rejected:
        if problems == self._problems:
            return Unchanged(problems)
        self._problems = problems
        log.error(
            "rules_rejected", file=str(self.path), problems=[str(item) for item in problems], in_force="unchanged"
        )
        return Rejected(problems)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What tells that a file was written or replaced; None when it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
