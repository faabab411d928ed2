"""Every error class of ours, made with example values. As a script it prints what each says, by class, as JSON."""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from db.records import EventRow
from pipelines.errors import RuleProblem
from scanward_errors import ScanwardError

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("daemon", "db", "dicomio", "engines", "pipelines", "training")

BY_NAME: dict[str, Any] = {
    "example": "1,5",
    "matrices": ((512, 512, 0.5, 0.5),),
    "orientations": ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0),),
    "gaps": ((10.0, "3", "4"),),
    "spacings_mm": (1.0, 2.0),
    "besides": (),
    "history": (
        EventRow(
            id=1,
            at=datetime(2026, 11, 29, tzinfo=UTC),
            job_id=7,
            delivery_id=None,
            event="queued -> running",
            because="a worker is free",
            detail={},
        ),
    ),
    "problems": (RuleProblem(file="rules.yaml", line=3, column=5, key="rules.glioma", message="must not be empty"),),
}
BY_TYPE: dict[str, Any] = {
    "str": "text",
    "str | None": "text",
    "int": 7,
    "float": 2.5,
    "object": 7,
    "Path": Path("/spool/x.dcm"),
    "list[str]": ["one", "two"],
    "Sequence[str]": ["one", "two"],
    "tuple[str, ...]": ("one", "two"),
}


def names_in(file: Path) -> Iterator[tuple[str, set[str]]]:
    """The classes of a file with the names of their bases."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ClassDef):
            yield node.name, {base.id for base in node.bases if isinstance(base, ast.Name)}


def modules() -> set[str]:
    """The modules in which an error class of ours is defined."""
    ours, found, before = {"ScanwardError"}, set[str](), -1
    classes = [
        (".".join(file.relative_to(ROOT).with_suffix("").parts), name, bases)
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*.py")
        for name, bases in names_in(file)
    ]
    while len(ours) > before:
        before = len(ours)
        derived = [(module, name) for module, name, bases in classes if bases & ours]
        ours |= {name for _, name in derived}
        found |= {module for module, _ in derived}
    return found


@cache
def kinds() -> tuple[type[ScanwardError], ...]:
    """Every error class of ours, once."""
    for module in modules():
        importlib.import_module(module)
    found: set[type[ScanwardError]] = {ScanwardError}
    while more := {child for kind in found for child in kind.__subclasses__()} - found:
        found |= more
    ours = [kind for kind in found if kind.__module__.split(".")[0] in {*FOLDERS, "scanward_errors"}]
    return tuple(sorted(ours, key=lambda kind: (kind.__module__, kind.__name__)))


def example(kind: type[ScanwardError]) -> ScanwardError:
    """An error of that class."""
    wanted = fields(kind) if is_dataclass(kind) else ()
    return kind(**{field.name: BY_NAME.get(field.name, BY_TYPE.get(str(field.type))) for field in wanted})


if __name__ == "__main__":
    said = {f"{kind.__module__}.{kind.__name__}": str(example(kind)) for kind in kinds()}
    print(json.dumps({"docstring": ScanwardError.__doc__, "said": said}))
