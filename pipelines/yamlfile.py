"""YAML that remembers where everything stood, so that an error can name file, line and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Key = tuple[str | int, ...]


class YamlFault(Exception):  # noqa: N818 - it says what it is
    """A file that is not the YAML we need; the message names file, line and column, and what to do."""


@dataclass(frozen=True)
class LocatedYaml:
    """Plain data of a YAML mapping, and the line and column of every key in it."""

    name: str
    data: dict[str, Any]
    marks: dict[Key, tuple[int, int]] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> LocatedYaml:
        """Reads a file; raises YamlFault when it is missing, is not UTF-8, is not a mapping or repeats a key."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise YamlFault(f"{path}: there is no such file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise YamlFault(f"{path}: cannot be read: {error}") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str) -> LocatedYaml:
        """Parses text; `name` stands for the file in messages."""
        marks: dict[Key, tuple[int, int]] = {}
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            if node is not None:
                _mark(node, (), marks, name)
            data = loader.construct_document(node) if node is not None else {}
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
            raise YamlFault(f"{where}: {error.problem or error}") from error
        except RecursionError:
            raise YamlFault(f"{name}:1:1: an alias refers to itself") from None
        except (yaml.YAMLError, TypeError, ValueError, LookupError, AttributeError) as error:
            # control characters, keys that are lists, 2026-13-45, !!bool x: PyYAML lets Python's own errors through
            raise YamlFault(f"{name}:1:1: {error}") from error
        if not isinstance(data, dict):
            raise YamlFault(f"{name}:1:1: must be a mapping of keys to values, not a {type(data).__name__}")
        return cls(name, data, marks)

    def where(self, key: Sequence[str | int]) -> str:
        """`file:line:column` of a key; of the nearest key around it where the file does not hold it."""
        parts = tuple(key)
        while parts and parts not in self.marks:
            parts = parts[:-1]
        line, column = self.marks.get(parts, (1, 1))
        return f"{self.name}:{line}:{column}"


def _mark(node: yaml.Node, at: Key, marks: dict[Key, tuple[int, int]], name: str) -> None:
    marks.setdefault(at, (node.start_mark.line + 1, node.start_mark.column + 1))
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            here = (*at, key_node.value)
            mark = key_node.start_mark
            if here in marks:
                raise YamlFault(
                    f"{name}:{mark.line + 1}:{mark.column + 1}: {key_node.value}: appears twice "
                    f"(first in line {marks[here][0]}); keep one"
                )
            marks[here] = (mark.line + 1, mark.column + 1)
            _mark(value_node, here, marks, name)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _mark(item, (*at, number), marks, name)
