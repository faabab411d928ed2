"""YAML 1.2 that remembers where everything stood, so that an error can name file, line and column. Read in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import VersionedResolver

_DEEPEST = 64
"""Levels of lists and mappings; no file of ours has more than ten."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a file: where (counted from 1), and what to do about it."""

    line: int
    column: int
    key: str
    message: str

    def at(self, name: str) -> str:
        """`file:line:column: key: message`."""
        key = f"{self.key}: " if self.key else ""
        return f"{name}:{self.line}:{self.column}: {key}{self.message}"


class YamlFault(Exception):  # noqa: N818 - it says what it is
    """A file that is not the YAML we need; the message names file, line and column, and what to do."""

    def __init__(self, name: str, fault: Fault) -> None:
        super().__init__(fault.at(name))
        self.fault = fault


@dataclass(frozen=True)
class LocatedYaml:
    """A YAML mapping as plain data, with the place of every key in it.

    Attributes:
        name: Stands for the file in messages.
        data: Plain dicts, lists, texts, numbers, true, false and null.
        tree: The same as ruamel.yaml reads it, with the comments: to change a file and write it out again.
        repeated: Keys that appear twice. `data` holds the first value; whoever uses it must refuse these.
    """

    name: str
    data: dict[str, Any]
    tree: CommentedMap = field(repr=False)
    repeated: tuple[Fault, ...] = ()

    @classmethod
    def read(cls, path: Path) -> LocatedYaml:
        """Reads a file; raises YamlFault when it is missing, is not UTF-8, or is not a mapping."""
        return cls.parse(read_text(path), str(path))

    @classmethod
    def parse(cls, text: str, name: str) -> LocatedYaml:
        """Parses text; `name` stands for the file in messages."""
        loader = YAML(typ="rt", pure=True)
        loader.Resolver, loader.Constructor, loader.max_depth = _Values, _Collecting, _DEEPEST
        loader.composer.warn_double_anchors = False  # the later one counts, as YAML says
        try:
            tree = loader.load(text)
            data = {} if tree is None else _plain(tree, {})
        except MaxDepthExceededError as error:
            raise YamlFault(name, replace(_fault(error), message="is nested too deeply")) from error
        except MarkedYAMLError as error:
            raise YamlFault(name, _fault(error)) from error
        except ReaderError as error:  # a control character
            raise YamlFault(name, _at(text, error.position, f"is no YAML: {error.reason}")) from error
        except NotImplementedError as error:  # the library keeps one comment for a place, and found two
            raise YamlFault(name, _between(str(error))) from error
        except (YAMLError, TypeError, ValueError, LookupError, AttributeError, AssertionError) as error:
            # !!int x: the library lets Python's own errors through
            raise YamlFault(name, Fault(1, 1, "", f"cannot be understood: {error}")) from error
        if not isinstance(data, dict):
            message = f"must be a mapping of keys to values, not a {type(data).__name__}"
            raise YamlFault(name, Fault(1, 1, "", message))
        return cls(name, data, CommentedMap() if tree is None else tree, tuple(loader.constructor.repeated))

    def place(self, key: Sequence[str | int]) -> tuple[int, int]:
        """Line and column of a key, from 1; of the nearest key around it where the file does not hold it."""
        found = (1, 1)
        for node, part in self._walk(key):
            try:
                line, column = node.lc.key(part) if isinstance(node, CommentedMap) else node.lc.item(part)
            except (KeyError, TypeError):  # came by a merge (<<): it stands elsewhere
                break
            found = line + 1, column + 1
        return found

    def where(self, key: Sequence[str | int]) -> str:
        """`file:line:column` of a key; of the nearest key around it where the file does not hold it."""
        line, column = self.place(key)
        return f"{self.name}:{line}:{column}"

    def _walk(self, key: Sequence[str | int]) -> Iterator[tuple[Any, str | int]]:
        node: Any = self.tree
        for part in key:
            inside = isinstance(node, CommentedMap) and part in node
            if not inside and not (isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node)):
                return
            yield node, part
            node = node[part]


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; raises YamlFault when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise YamlFault(str(path), Fault(1, 1, "", "there is no such file")) from None
    except (OSError, UnicodeDecodeError) as error:
        raise YamlFault(str(path), Fault(1, 1, "", f"cannot be read: {error}")) from error


def _between(said: str) -> Fault:
    """Of a comment that the library cannot keep; `said` names tokens, and their lines from 0."""
    line = re.search(r"line: (\d+)", said)
    message = "a comment stands between a key and its value: put it on a line above the key"
    return Fault(int(line[1]) + 1 if line else 1, 1, "", message)


class _Values(VersionedResolver):
    """Text, whole and decimal numbers, true, false and null: what JSON has, and all that we need.

    YAML 1.1 would turn `NO` into false and `12:30` into 750, 1.2 still turns `007` into 7, and ruamel.yaml 2026-01-01
    into a date (and 2026-13-45 into an error). All of them are values of DICOM tags, and meant as text.
    """

    _KINDS = (
        ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
        ("int", r"[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
        ("float", r"[-+]?(?:0|[1-9][0-9]*)?\.[0-9]+(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
        ("float", r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?[eE][-+]?[0-9]+$", "-+0123456789"),
        ("null", r"(?:~|null|Null|NULL)$", "~nN"),
        ("merge", r"<<$", "<"),
    )
    _BY_FIRST: dict[str, list[tuple[str, re.Pattern[str]]]] = {  # noqa: RUF012 - the base class's own form
        "": [("tag:yaml.org,2002:null", re.compile("$"))]
    }
    for _kind, _pattern, _letters in _KINDS:
        for _letter in _letters:
            _BY_FIRST.setdefault(_letter, []).append((f"tag:yaml.org,2002:{_kind}", re.compile(_pattern)))

    @property
    def versioned_resolver(self) -> dict[str, list[tuple[str, re.Pattern[str]]]]:
        """Whatever version the file says it has."""
        return self._BY_FIRST


_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "merge")
)


class _Collecting(RoundTripConstructor):
    """Notes keys that appear twice, all of them, instead of stopping at the first; refuses what is no plain data."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.repeated: list[Fault] = []

    def construct_document(self, node: Any) -> Any:
        """The data of a document, after a look at its nodes, which still know their places."""
        _refuse(node, set(), set())
        return super().construct_document(node)

    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        """Whether the key is new."""
        if key not in mapping:
            return True
        first = mapping.lc.key(key)[0] + 1 if isinstance(mapping, CommentedMap) else node.start_mark.line + 1
        mark = key_node.start_mark
        message = f"appears twice (first in line {first}); keep one"
        self.repeated.append(Fault(mark.line + 1, mark.column + 1, str(key), message))
        return False


def _refuse(node: Any, around: set[int], seen: set[int]) -> None:
    """Raises MarkedYAMLError for aliases to themselves, keys that are no text, and tags such as !!python/object."""
    if id(node) in around:
        raise _marked("an alias refers to itself", node)
    if id(node) in seen:
        return
    seen.add(id(node))
    if str(node.tag) not in _TAGS:
        raise _marked(f"{node.tag} is not known here; use text, numbers, true, false, lists and mappings", node)
    around.add(id(node))
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise _marked("a key must be text, not a list or a mapping", key)
            _refuse(value, around, seen)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            _refuse(item, around, seen)
    around.discard(id(node))


def _marked(problem: str, node: Any) -> MarkedYAMLError:
    return MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _plain(node: Any, done: dict[int, Any]) -> Any:
    """Python's own types, without the library's additions; what aliases share stays shared."""
    if id(node) in done:
        return done[id(node)]
    match node:
        case CommentedMap():
            done[id(node)] = {_plain(key, {}): _plain(node[key], done) for key in node}
            return done[id(node)]
        case CommentedSeq():
            done[id(node)] = [_plain(item, done) for item in node]
            return done[id(node)]
        case None | bool():
            return node
        case str() | int() | float():
            kind = str if isinstance(node, str) else int if isinstance(node, int) else float
            return kind(node)
    raise TypeError(f"a value of the kind {type(node).__name__}")


def _fault(error: MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    said = str(error.problem or error)
    if "escape" in said:
        said += "; in double quotes a backslash begins an escape: use single quotes"
    return Fault(mark.line + 1, mark.column + 1, "", said) if mark else Fault(1, 1, "", said)


def _at(text: str, position: int, message: str) -> Fault:
    before = text[:position]
    return Fault(before.count("\n") + 1, position - before.rfind("\n"), "", message)
