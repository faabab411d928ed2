from __future__ import annotations

import importlib
import json
import os
import pickle
import re
import string
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import pytest

from scanward_errors import ScanwardError
from tests.error_examples import ROOT, example, kinds

DRAWN_IN = (
    "daemon.errors",
    "db.errors",
    "dicomio.errors",
    "dicomio.volumes.refusals.content",
    "dicomio.volumes.refusals.geometry",
    "dicomio.volumes.refusals.images",
    "engines.errors",
    "pipelines.errors",
    "training.errors",
)


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_error_says_its_data_and_travels(kind: type[ScanwardError]) -> None:
    error = example(kind)
    assert str(error)
    assert not set("{}") & set(str(error))
    assert None not in vars(error).values(), "tests/error_examples.py has no value for a field"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_the_docstring_is_not_the_message(kind: type[ScanwardError]) -> None:
    described = (kind.__doc__ or "").split("\n")[0]
    assert described
    assert "{" not in described
    assert kind is ScanwardError or kind.message != ScanwardError.message


def test_the_messages_are_the_same_without_docstrings() -> None:
    run = subprocess.run(
        [sys.executable, "-OO", str(ROOT / "tests" / "error_examples.py")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    answer = json.loads(run.stdout)
    assert answer["docstring"] is None
    assert answer["said"] == {f"{kind.__module__}.{kind.__name__}": str(example(kind)) for kind in kinds()}
    assert len(answer["said"]) > 75


def test_a_name_stands_for_one_error() -> None:
    assert {name for name, times in Counter(kind.__name__ for kind in kinds()).items() if times > 1} == set()


def drawn(docstring: str) -> dict[str, str]:
    """Name and parent of each class in a tree that is drawn with ├── and └──."""
    lines = docstring.splitlines()
    first = next(number for number, line in enumerate(lines) if "── " in line)
    margin = lines[first].index("── ") - 1
    parents, above = dict[str, str](), [lines[first - 1].strip()]
    for line in lines[first:]:
        if found := re.match(r"((?:[│ ] {3})*)[├└]── (\w+)", line[margin:]):
            depth = len(found[1]) // 4 + 1
            parents[found[2]] = above[depth - 1]
            above[depth:] = [found[2]]
    return parents


@pytest.mark.parametrize("module", DRAWN_IN)
def test_the_tree_that_is_drawn_is_the_tree(module: str) -> None:
    tree = drawn(importlib.import_module(module).__doc__ or "")
    known = {kind.__name__: kind.__bases__[0].__name__ for kind in kinds()}
    assert {name: known.get(name) for name in tree} == tree
    here = {kind.__name__ for kind in kinds() if kind.__module__ == module}
    assert len(here - tree.keys()) <= 1, "only the root has no place in the tree below it"


def test_what_the_fields_hold_is_no_template() -> None:
    @dataclass(eq=False, kw_only=True)
    class PeerError(ScanwardError):
        message: ClassVar[str] = "{peer} refused{how}: {reason!r}."

        peer: str
        reason: str

        @property
        def how(self) -> str:
            return " {peer}"

    assert str(PeerError(peer="{reason}", reason="{peer}")) == "{reason} refused {peer}: '{peer}'."


def test_the_templates_name_what_there_is() -> None:
    for kind in kinds():
        error = example(kind)
        names = [name for _, name, _, _ in string.Formatter().parse(kind.message) if name is not None]
        assert all(name.isidentifier() and hasattr(error, name) for name in names), kind
