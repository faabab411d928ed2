"""The YAML file with which a person changes an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.rules.yaml_file import LocatedYaml, YamlFault


def read_changes(path: Path) -> dict[str, Any]:
    """Keys and values of a YAML file; an empty one changes nothing.

    Raises:
        ValueError: It is no YAML mapping, or a key appears twice; says where.
    """
    try:
        document = LocatedYaml.read(path)
    except YamlFault as fault:
        raise ValueError(f"expected YAML: {fault}") from fault
    if document.repeated:
        raise ValueError("; ".join(fault.at(document.name) for fault in document.repeated))
    return document.data
