"""The rule file: every problem is named with its place; a changed file is read again, a broken one changes nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from pipelines.errors import RuleProblem, RulesInvalid
from pipelines.rules.model import RuleSet
from pipelines.rules.problems import Pipelines, advice, wrong_names
from pipelines.yaml_file import Fault, LocatedYaml, YamlFault, read_text

log = structlog.get_logger(__name__)


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
        text = read_text(path)
    except YamlFault as error:
        raise RulesInvalid(path=path, problems=(_from_fault(str(path), error.fault),)) from error
    return parse_rules(text, path, known_pipelines=known_pipelines, known_destinations=known_destinations)


def parse_rules(
    text: str,
    path: Path | str = "rules",
    *,
    known_pipelines: Pipelines | None = None,
    known_destinations: Collection[str] | None = None,
) -> RuleSet:
    """Like `load_rules`, for the text of a file; `path` stands for the file in messages."""
    try:
        document = LocatedYaml.parse(text, str(path))
    except YamlFault as error:
        raise RulesInvalid(path=Path(path), problems=(_from_fault(str(path), error.fault),)) from error
    found = dict.fromkeys(wrong_names(document.data, known_pipelines, known_destinations))
    try:
        rules = RuleSet.model_validate(document.data)
    except ValidationError as error:
        found = dict.fromkeys((*((item["loc"], advice(item)) for item in error.errors()), *found))
    else:
        if not found and not document.repeated:
            return rules
    problems = [_from_fault(str(path), fault) for fault in document.repeated]
    problems += [_problem(document, place, message) for place, message in found]
    in_order = sorted(problems, key=lambda problem: (problem.line, problem.column))
    raise RulesInvalid(path=Path(path), problems=tuple(in_order))


def _from_fault(name: str, fault: Fault) -> RuleProblem:
    return RuleProblem(file=name, line=fault.line, column=fault.column, key=fault.key, message=fault.message)


def _problem(document: LocatedYaml, place: Sequence[str | int], message: str) -> RuleProblem:
    line, column = document.place(place)
    key = _key(document.data, place)
    return RuleProblem(file=document.name, line=line, column=column, key=key, message=message)


def _key(data: Mapping[str, Any], place: Sequence[str | int]) -> str:
    """The place in words: rules are named, not numbered."""
    parts = [str(part) for part in place]
    if len(place) >= 2 and place[0] == "rules" and isinstance(place[1], int):
        rules = data.get("rules")
        rule = rules[place[1]] if isinstance(rules, list) else None
        name = rule.get("name") if isinstance(rule, dict) else None
        parts[1] = str(name) if isinstance(name, str) and name else f"number {place[1] + 1}"
    return ".".join(parts)


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

    @property
    def problems(self) -> tuple[RuleProblem, ...]:
        """What is wrong with the file as it is now; the rules in force are those from before."""
        return self._problems

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
