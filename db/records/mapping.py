from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

R = TypeVar("R")


def record(kind: type[R], row: object, **more: Any) -> R:
    """A record of this kind with the columns of the row that have the same names; `more` wins."""
    names = [item.name for item in fields(kind) if item.name not in more]  # type: ignore[arg-type]
    values = {name: getattr(row, name) for name in names if hasattr(row, name)}
    return kind(**values, **more)
