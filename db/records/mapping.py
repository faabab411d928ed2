"""From rows to records and back, by the names that both have."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import inspect
from sqlalchemy.orm import DeclarativeBase

R = TypeVar("R")


def record(kind: type[R], row: object, **more: Any) -> R:
    """A record of this kind with the columns of the row that have the same names; `more` wins."""
    names = [item.name for item in fields(kind) if item.name not in more]  # type: ignore[arg-type]
    values = {name: getattr(row, name) for name in names if hasattr(row, name)}
    return kind(**values, **more)


def values(table: type[DeclarativeBase], given: object, **more: Any) -> dict[str, Any]:
    """The values of a new row of this table: those of the record that have the names of columns; `more` wins."""
    names = [name for name in _columns(table) if name not in more and hasattr(given, name)]
    return {name: getattr(given, name) for name in names} | more


@cache
def _columns(table: type[DeclarativeBase]) -> tuple[str, ...]:
    return tuple(inspect(table).columns.keys())
