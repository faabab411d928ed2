"""YAML as people mean it in a rule file: fewer surprises than YAML 1.1."""

from __future__ import annotations

import re

import yaml


class RuleLoader(yaml.SafeLoader):
    """Knows text, whole and decimal numbers, true, false and null, as YAML 1.2 does.

    YAML 1.1 would turn `NO` into false, `007` into 7, `12:30` into 750 and `2026-01-01` into a date; all of them are
    values of DICOM tags.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - the base class's own


def _resolve(kind: str, pattern: str, first: str) -> None:
    RuleLoader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(pattern), list(first) or None)


_resolve("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF")
_resolve("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789")
_resolve("float", r"^[-+]?(?:0|[1-9][0-9]*)?\.[0-9]+(?:[eE][-+]?[0-9]+)?$", "-+.0123456789")
_resolve("float", r"^[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?[eE][-+]?[0-9]+$", "-+0123456789")
_resolve("null", r"^(?:~|null|Null|NULL)$", "~nN")
RuleLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])
RuleLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])
