"""Commands that are imported when somebody calls them: each pays for what it uses, `--help` for nothing."""

from __future__ import annotations

import ast
import gc
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

CommandPath = tuple[str, str]
"""Module and function of a command, or module and `app` of a group of commands."""


class LazyCommand(TyperCommand):
    """Stands in a list of commands for one whose module is not imported yet; its help is read from the source."""

    def __init__(self, name: str, path: CommandPath) -> None:
        super().__init__(name, callback=None)
        self._path = path

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the real command."""
        return self.real.make_context(info_name, args, parent=parent, **extra)

    @cached_property
    def real(self) -> Any:
        """The command itself: now its module is imported."""
        module, attribute = self._path
        gc.disable()  # an import makes many objects and no garbage: looking for some costs a tenth of the start
        try:
            found = getattr(import_module(module), attribute)
        finally:
            gc.enable()
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(self.name)(found)
        return typer.main.get_command(alone)

    def _first_line(self) -> str:
        return _docstring(*self._path).partition("\n")[0]

    def _set(self, text: str | None) -> None:
        """The base class sets them, to nothing."""

    help = property(_first_line, _set)
    short_help = property(_first_line, _set)


class LazyGroup(TyperGroup):
    """A group whose commands are named in `commands_by_name`, by what a user types."""

    commands_by_name: Mapping[str, CommandPath]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, path in self.commands_by_name.items():
            self.add_command(LazyCommand(name, path))


def _docstring(module: str, attribute: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == attribute]
    return ast.get_docstring(functions[0] if functions else tree) or ""
