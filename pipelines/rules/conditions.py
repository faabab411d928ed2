"""One condition of a rule: what a value must be."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictStr,
    model_validator,
)

from pipelines.rules import regex
from pipelines.rules.tag_values import Scalar, as_number, scalars


def _scalar(value: Any) -> Scalar:
    if not isinstance(value, str | int | float):
        raise ValueError(f"must be one value, not {'nothing' if value is None else 'a ' + type(value).__name__}")
    return _visible(value) if isinstance(value, str) else value


def _visible(text: str) -> str:
    r"""Refuses what double quotes make of a backslash: "\b" is a backspace in YAML, "\P" the end of a paragraph."""
    hidden = next((one for one in text if unicodedata.category(one) in ("Cc", "Zl", "Zp")), "")
    if hidden:
        hint = "in double quotes a backslash begins such a character: use single quotes"
        raise ValueError(f"has a character that cannot be seen ({hidden!r}); {hint}")
    return text


Value = Annotated[Any, AfterValidator(_scalar)]


def _compiles(pattern: str) -> str:
    regex.compiled(_visible(pattern))
    return pattern


class Condition(BaseModel):
    """What a value must be. Everything that is given must hold; of several values of a tag, one must fit all of it.

    A missing tag fits nothing but `exists: false` and an explicit "" (alone or within `in`). Text is compared exactly,
    capitals too; spaces at either end do not count, DICOM pads with them. Numbers are compared as numbers. A text with
    backslashes stands for several values, as DICOM writes them: the tag has all of them, in this order.

    Attributes:
        equals: The value; what a bare value in the file stands for.
        in_: It must be one of these.
        matches: A regular expression that must be found anywhere in it (within its first 128 characters).
        min: It must be this number or more.
        max: It must be this number or less.
        exists: true: the tag must be there and not empty; false: it must not.
        not_: A condition that must not hold, for any of several values; the tag must be there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    equals: Value | None = None
    in_: tuple[Value, ...] | None = Field(default=None, alias="in")
    matches: Annotated[StrictStr, Field(min_length=1), AfterValidator(_compiles)] | None = None
    min: StrictFloat | None = None
    max: StrictFloat | None = None
    exists: StrictBool | None = None
    not_: Condition | None = Field(default=None, alias="not")

    @model_validator(mode="before")
    @classmethod
    def _bare_value(cls, raw: Any) -> Any:
        """`Modality: MR` stands for `Modality: {equals: MR}`."""
        if isinstance(raw, str | bool | int | float):
            return {"equals": raw}
        if isinstance(raw, list | tuple):
            raise ValueError("is a list; write {in: [...]} for one of several values")
        if raw is None:
            raise ValueError('is empty; write "" for a missing value, or {exists: false}')
        return raw

    @model_validator(mode="after")
    def _can_hold(self) -> Condition:
        tests = [self.equals, self.in_, self.matches, self.min, self.max, self.not_]
        if self.exists is None and all(test is None for test in tests):
            raise ValueError("asks nothing; give equals, in, matches, min, max, exists or not")
        if self.in_ == ():
            raise ValueError("in is empty, and can never hold; give at least one value")
        if self.exists is False and any(test is not None for test in tests):
            raise ValueError("can never hold: a value that does not exist cannot be anything else as well")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"can never hold: min {self.min} is above max {self.max}")
        return self

    def holds(self, values: Sequence[Scalar]) -> bool:
        """Whether the condition holds for the values of a tag; () stands for a missing one."""
        if not values:
            return self._holds_for_missing()
        if self.exists is False or (self.not_ is not None and self.not_.holds(values)):
            return False
        return self._holds_in_order(values) or any(self._fits(value) for value in values)

    def _holds_in_order(self, values: Sequence[Scalar]) -> bool:
        """For a text with backslashes; then the other tests must hold for one of the values that it names."""
        listed = [self.equals] if self.equals is not None else self.in_ or ()
        texts = [one for one in listed if isinstance(one, str) and "\\" in one]
        if not any(_in_order(scalars(one), values) for one in texts):
            return False
        others = self.model_copy(update={"equals": None, "in_": None})
        return any(others._fits(value) for value in values)

    def _holds_for_missing(self) -> bool:
        if self.exists is not None:
            return not self.exists
        if self.matches is not None or self.min is not None or self.max is not None:
            return False
        listed = (self.equals is None or self.equals == "") and (self.in_ is None or "" in self.in_)
        if self.equals is None and self.in_ is None:  # only `not`, which asks of values that are there
            return self.not_ is not None and self.not_.exists is not None and not self.not_.holds(())
        return listed and (self.not_ is None or not self.not_.holds(()))

    def _fits(self, value: Scalar) -> bool:
        return (
            (self.equals is None or same(self.equals, value))
            and (self.in_ is None or any(same(wanted, value) for wanted in self.in_))
            and (self.matches is None or regex.search(self.matches, str(value)) is not None)
            and _within(self.min, self.max, value)
        )

    def words(self) -> str:
        """The condition for people, to follow the name that it is about: `matching (?i)flair`, `at least 12`."""
        said = []
        if self.equals is not None:
            said.append(_shown(self.equals))
        if self.in_ is not None:
            said.append("one of " + ", ".join(map(_shown, self.in_)))
        if self.matches is not None:
            said.append(f"matching {self.matches}")
        if self.min is not None and self.max is not None:
            said.append(f"from {self.min:g} to {self.max:g}")
        elif self.min is not None or self.max is not None:
            said.append(f"at least {self.min:g}" if self.min is not None else f"at most {self.max:g}")
        if self.exists is not None:
            said.append("present" if self.exists else "missing")
        if self.not_ is not None:
            said.append(f"not {self.not_.words()}")
        return " and ".join(said)


def same(wanted: Scalar, value: Scalar) -> bool:
    """Whether a value is the wanted one: numbers by value, however they are written; text exactly, without padding."""
    if isinstance(wanted, bool) or isinstance(value, bool):
        return wanted is value
    if isinstance(wanted, str) and isinstance(value, str):
        return wanted.strip() == value
    number = as_number(wanted)
    return number is not None and number == as_number(value)


def _in_order(wanted: Sequence[Scalar], values: Sequence[Scalar]) -> bool:
    rest = iter(values)
    different = tuple(dict.fromkeys(wanted))  # as the values of a tag are
    return bool(different) and all(any(same(one, value) for value in rest) for one in different)


def _within(least: float | None, most: float | None, value: Scalar) -> bool:
    if least is None and most is None:
        return True
    number = as_number(value)
    return number is not None and (least is None or number >= least) and (most is None or number <= most)


def _shown(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if value != "" else "empty"
