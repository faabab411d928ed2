"""The reference of the configuration: keys, types and defaults from the models, words from deploy/scanward.yaml.

python -m daemon.config.reference > docs/configuration.md
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from daemon.config.model import Config
from daemon.config.values import parse_size

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "scanward.yaml"
_TOP = re.compile(r"^(?:# ?)?([a-z_]+):(?:\s|$)")
_NESTED = re.compile(r"^(?:#?  +|  +# ?)([a-z_]+):(?:\s|$)")
_INLINE = re.compile(r"[{,]\s*([a-z_]+):")
_TRAILING = re.compile(r"\s#\s*(.+)$")
_SIMPLE: Mapping[object, str] = {
    Path: "path",
    SecretStr: "text, never shown",
    bool: "true or false",
    timedelta: "duration: 30s, 5m, 2h",
    float: "number",
}
_INNER: Mapping[tuple[str, ...], str] = {
    ("*", "ae_title"): "its AE title",
    ("*", "host"): "its name or address",
    ("*", "path"): "the folder",
    ("*", "settle"): "how long a file must not have changed",
    ("*", "keep"): "leave the files there",
    ("tls", "cert"): "our certificate, PEM",
    ("tls", "key"): "its private key, PEM",
    ("tls", "ca"): "who must have signed the other side's, PEM",
}
"""What the example shows on one line."""
_HEAD = """# Configuration

Every key of `scanward.yaml`. Made by `make schema` from the program itself and the comments of `deploy/scanward.yaml`;
a test fails when it is out of date. Unknown keys are errors. Relative paths are taken from the folder of the file.
A value may come from the environment instead, by the name in the last column: the environment wins over the file.
"""


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        path: Keys from the top; `*` stands for an item of a list or a name that the hospital gives.
        kind: What it holds, in words.
        default: As one would write it; None where it must be given.
    """

    path: tuple[str, ...]
    kind: str
    default: str | None

    @property
    def variable(self) -> str:
        """The environment variable; '' for what is inside a list or under a free name."""
        return "" if "*" in self.path else "SCANWARD_" + "__".join(self.path).upper()


def keys(model: type[BaseModel] = Config, path: tuple[str, ...] = ()) -> Iterator[Key]:
    """Every key that holds a value, in the order of the models."""
    for name, field in model.model_fields.items():
        part, inner = _part(field.annotation)
        if part is None:
            yield Key((*path, name), _kind(field.annotation, field.metadata), _default(field))
        else:
            yield from keys(part, (*path, name, *inner))


def _part(annotation: Any) -> tuple[type[BaseModel] | None, tuple[str, ...]]:
    """The model that a key stands for, and whether there may be several."""
    found = next((one for one in _flat(annotation) if inspect.isclass(one) and issubclass(one, BaseModel)), None)
    several = any(get_origin(one) in (tuple, dict) for one in (annotation, *get_args(annotation)))
    return found, ("*",) if several else ()


def _flat(annotation: Any) -> Iterator[Any]:
    yield annotation
    for one in get_args(annotation):
        yield from _flat(one)


def _kind(annotation: Any, metadata: Sequence[Any]) -> str:
    arguments = get_args(annotation)
    match get_origin(annotation):
        case origin if origin is Annotated:
            return _kind(arguments[0], arguments[1:])
        case origin if origin in (Union, types.UnionType):
            return " or ".join(_kind(one, metadata) for one in arguments if one is not type(None))
        case origin if origin is Literal:
            return ", ".join(arguments)
        case origin if origin is tuple:
            return f"list of {_kind(arguments[0], ())}"
    told = _SIMPLE.get(annotation) or _of_metadata(annotation, metadata)
    return told + _bounds(metadata) if annotation is int else told


def _of_metadata(annotation: Any, metadata: Sequence[Any]) -> str:
    validators = [getattr(one, "func", None) for one in _unpacked(metadata)]
    if annotation is int:
        return "size: 128KB, 4GiB" if parse_size in validators else "number"
    longest = next((one.max_length for one in _unpacked(metadata) if hasattr(one, "max_length")), None)
    return "AE title" if longest == 16 else "text"


def _unpacked(metadata: Sequence[Any]) -> list[Any]:
    return [inner for one in metadata for inner in ([*one.metadata, one] if isinstance(one, FieldInfo) else [one])]


def _bounds(metadata: Sequence[Any]) -> str:
    if any(getattr(one, "func", None) is parse_size for one in _unpacked(metadata)):
        return ""
    low = next((one.ge for one in _unpacked(metadata) if getattr(one, "ge", None) is not None), None)
    high = next((one.le for one in _unpacked(metadata) if getattr(one, "le", None) is not None), None)
    if low is not None and high is not None:
        return f" {low} to {high}"
    return "" if low is None else f", at least {low}"


def _default(field: FieldInfo) -> str | None:
    return None if field.is_required() else _written(field.default, _kind(field.annotation, field.metadata))


def _written(value: Any, kind: str) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case timedelta():
            return _duration(value.total_seconds())
        case int() if kind.startswith("size"):
            return _size(value)
        case tuple():
            return f"[{', '.join(_written(one, '') for one in value)}]"
        case _:
            return str(value)


def _duration(seconds: float) -> str:
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    unit, length = next((unit, length) for unit, length in units if seconds % length == 0 and seconds >= length)
    return f"{seconds / length:g}{unit}"


def _size(value: int) -> str:
    units = (("GiB", 1 << 30), ("GB", 10**9), ("MiB", 1 << 20), ("MB", 10**6), ("KiB", 1 << 10), ("KB", 10**3))
    return next((f"{value // length}{unit}" for unit, length in units if value % length == 0), f"{value}B")


def comments(example: str) -> dict[tuple[str, str], str]:
    """(top key, key) -> what the commented example says of it, '' where it only shows it; (key, '') for a top key."""
    found: dict[tuple[str, str], str] = {}
    top = ""
    block: list[str] = []
    for line in example.splitlines():
        if match := _TOP.match(line):
            top = match[1]
            found.setdefault((top, ""), " ".join(block))
            block = []
        elif match := _NESTED.match(line):
            trailing = _TRAILING.search(line[match.end() :])
            found.setdefault((top, match[1]), trailing[1] if trailing else "")
        elif line.startswith("# "):
            block.append(line.removeprefix("# "))
        elif not line.strip():
            block = []
        for name in _INLINE.findall(line):
            found.setdefault((top, name), "")
    return found


def markdown(example: str) -> str:
    """The whole page."""
    comment_of, sections = comments(example), [_HEAD]
    everything = list(keys())
    for top in dict.fromkeys(key.path[0] for key in everything):
        rows = [_row(key, comment_of) for key in everything if key.path[0] == top]
        table = "\n".join(["| Key | Holds | Default | What | Environment |", "|---|---|---|---|---|", *rows])
        sections.append(f"## {top}\n\n{comment_of.get((top, ''), '')}\n\n{table}\n")
    return "\n".join(sections)


def _row(key: Key, comment_of: Mapping[tuple[str, str], str]) -> str:
    name = ".".join(key.path).replace(".*", "[]" if key.path[0] in ("watch", "listener") else ".NAME")
    what = _INNER.get(key.path[-2:]) or comment_of.get((key.path[0], key.path[-1]), "") if len(key.path) > 1 else ""
    default = "required" if key.default is None else f"`{key.default}`"
    variable = f"`{key.variable}`" if key.variable else ""
    return " | ".join(("| `" + name + "`", key.kind, default, what.replace("|", "or"), variable)) + " |"


if __name__ == "__main__":
    sys.stdout.write(markdown(EXAMPLE.read_text(encoding="utf-8")))
