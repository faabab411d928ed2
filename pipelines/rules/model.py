"""Routing rules as data: frozen models that refuse what they do not know, with every problem named at its place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from pipelines.rules.conditions import Condition
from pipelines.rules.study.keywords import Keyword, UnknownKeyword, closest, keyword_named
from pipelines.rules.tag_values import as_number

PlainName = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
RuleName = Annotated[StrictStr, Field(pattern=r"^\w(?:[\w .,()+/-]{0,62}[\w.)+])?$")]
KeyPath = tuple[str | int, ...]


class RulePriority(StrEnum):
    """Which jobs go first."""

    STAT = "stat"
    ROUTINE = "routine"
    LOW = "low"


class Model(BaseModel):
    """Base of the models of the rule file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Conditions(Model):
    """Conditions by name, in the order of the file; all must hold. An empty one holds always."""

    of_study: ClassVar[bool] = True
    settings: ClassVar[frozenset[str]] = frozenset()
    """Keys beside the conditions."""

    conditions: Mapping[str, Condition] = {}

    @model_validator(mode="before")
    @classmethod
    def _sorted_out(cls, raw: Any) -> Any:
        """Tells conditions from settings, and names every condition that is wrong, not only the first."""
        if not isinstance(raw, Mapping):
            raise ValueError("must be conditions, such as {Modality: MR, plane: axial}")
        if set(raw) == {"conditions"} | (set(raw) & cls.settings):  # as `model_dump` wrote it, or from Python
            raw = {**{key: raw[key] for key in raw if key != "conditions"}, **raw["conditions"]}
        faults: list[InitErrorDetails] = []
        found = {key: _condition(key, raw[key], cls.of_study, faults) for key in raw if key not in cls.settings}
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return {"conditions": found, **{key: raw[key] for key in raw if key in cls.settings}}

    @model_serializer(mode="plain")
    def _as_in_the_file(self) -> dict[str, Any]:
        return {key: condition.model_dump(exclude_none=True) for key, condition in self.conditions.items()}


class Role(Conditions):
    """What a series must be to take a role of the pipeline; `optional: true` when the pipeline can do without."""

    of_study: ClassVar[bool] = False
    settings: ClassVar[frozenset[str]] = frozenset({"optional"})

    optional: StrictBool = False

    @model_serializer(mode="plain")
    def _as_in_the_file(self) -> dict[str, Any]:
        conditions = {key: condition.model_dump(exclude_none=True) for key, condition in self.conditions.items()}
        return conditions | ({"optional": True} if self.optional else {})


def _nothing(value: Any) -> Any:
    """`study:` with nothing behind it is no condition."""
    return {} if value is None else value


class Rule(Model):
    """One rule: studies that fulfil `study` and have a series for every role of `series` go to `pipeline`."""

    name: RuleName = Field(description="Name of the rule, for logs and the audit; unique in the file.")
    pipeline: PlainName = Field(description="The pipeline that reads the study.")
    study: Annotated[Conditions, BeforeValidator(_nothing)] = Field(
        default=Conditions(), description="Conditions on the study as a whole."
    )
    series: Annotated[Mapping[PlainName, Role], Field(min_length=1)] = Field(
        description="Role of the pipeline -> conditions on the series that takes it."
    )
    priority: RulePriority = Field(default=RulePriority.ROUTINE, description="Which jobs go first.")
    send_to: tuple[PlainName, ...] = Field(
        description="Destinations of the results, as named in scanward.yaml; may be []."
    )

    @field_validator("series")
    @classmethod
    def _one_required(cls, series: Mapping[str, Role]) -> Mapping[str, Role]:
        if series and all(role.optional for role in series.values()):
            raise ValueError("every role is optional, so the rule would take every study; make one required")
        return series

    @field_validator("send_to")
    @classmethod
    def _once_each(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("names a destination twice; keep one")
        return names


class RuleSet(Model):
    """All rules; every one is asked, so a study may feed several pipelines."""

    rules: tuple[Rule, ...]

    @field_validator("rules")
    @classmethod
    def _unique(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        faults = [_fault(place, said, rules[place[0]].name) for place, said in repeated_names(r.name for r in rules)]
        if faults:
            raise ValidationError.from_exception_data("RuleSet", faults)
        return rules

    @property
    def digest(self) -> str:
        """SHA-256 of what the rules say; comments and layout do not change it."""
        said = json.dumps(self.model_dump(mode="json"), separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(said.encode()).hexdigest()

    def __iter__(self) -> Iterator[Rule]:  # type: ignore[override]
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)


def repeated_names(names: Iterable[Any]) -> Iterator[tuple[tuple[int, str], str]]:
    """Rules that have the name of an earlier one: their place below `rules`, and what to do."""
    seen: set[str] = set()
    for number, name in enumerate(names):
        if isinstance(name, str) and name in seen:
            yield (number, "name"), "another rule has this name; choose a different one"
        elif isinstance(name, str):
            seen.add(name)


def _condition(key: Any, raw: Any, of_study: bool, faults: list[InitErrorDetails]) -> Condition | None:
    try:
        about = keyword_named(str(key), of_study=of_study)
    except UnknownKeyword as error:
        faults.append(_fault((str(key),), str(error), raw))
        return None
    try:
        condition = raw if isinstance(raw, Condition) else Condition.model_validate(_as_text(about, raw))
    except ValidationError as error:
        faults.extend(_moved((about.name,), error, bare=not isinstance(raw, Mapping)))
        return None
    faults.extend(_fault((about.name, *place), message, raw) for place, message in _misfits(about, condition))
    return condition


def _moved(place: KeyPath, error: ValidationError, *, bare: bool) -> Iterator[InitErrorDetails]:
    """The errors of a condition at their place in the file; one that is a bare value has no key `equals` there."""
    for item in error.errors():
        kind = PydanticCustomError(item["type"], item["msg"])
        inside = () if bare else item["loc"]
        yield InitErrorDetails(type=kind, loc=(*place, *inside), input=item["input"])


def _fault(place: KeyPath, message: str, value: Any) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("rule", message), loc=place, input=value)


def _as_text(about: Keyword, raw: Any) -> Any:
    """A whole number behind a text keyword (`StudyID: 12`) is that text."""
    if about.kind != "text":
        return raw
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    if isinstance(raw, Mapping):
        inner = {key: raw[key] for key in raw}
        for key in ("equals", "not"):
            if key in inner:
                inner[key] = _as_text(about, inner[key])
        if isinstance(inner.get("in"), list):
            inner["in"] = [_as_text(about, item) for item in inner["in"]]
        return inner
    return raw


def _misfits(about: Keyword, condition: Condition, at: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Tests that make no sense for what they ask about."""
    if (condition.min is not None or condition.max is not None) and about.kind not in ("number", "moment"):
        key = "min" if condition.min is not None else "max"
        yield (*at, key), "compares numbers, and this is none; use equals, in or matches"
    if condition.matches is not None and about.kind in ("flag", "choice"):
        yield (*at, "matches"), f"is for text; give {_allowed(about)}"
    if condition.equals is not None:
        yield from _misfit(about, condition.equals, at)
    for number, value in enumerate(condition.in_ or ()):
        yield from _misfit(about, value, (*at, "in", number))
    if condition.not_ is not None:
        yield from _misfits(about, condition.not_, (*at, "not"))


def _misfit(about: Keyword, value: Any, at: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if value == "":  # stands for a missing value, whatever it is about
        return
    check: Callable[[Any], bool] = {
        "flag": lambda item: isinstance(item, bool),
        "choice": lambda item: item in about.choices,
        "number": lambda item: as_number(item) is not None,
        "moment": lambda item: not isinstance(item, bool),
        "text": lambda item: isinstance(item, str),
    }[about.kind]
    if not check(value):
        yield at, _not_allowed(about, value)


def _not_allowed(about: Keyword, value: Any) -> str:
    meant = closest(str(value), about.choices) if about.choices else ""
    said = str(value).lower() if isinstance(value, bool) else str(value)
    hint = f"; did you mean {meant}?" if meant else ""
    return f"cannot be {said}; give {_allowed(about)}{hint}"


def _allowed(about: Keyword) -> str:
    match about.kind:
        case "flag":
            return "true or false"
        case "choice":
            return "one of " + ", ".join(about.choices)
        case "number":
            return "a number"
        case "moment":
            return "a date as YYYYMMDD or a time as HHMMSS"
        case "text":
            return 'text, in quotes ("1.20") where it looks like something else'
