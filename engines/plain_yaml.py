"""YAML 1.2 that programs write and read: plain data, no comments, no places.

For files that people write there is `pipelines.yaml_file`.
"""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML


def read_yaml(text: str) -> Any:
    """The plain data of a YAML text; raises ruamel.yaml's YAMLError, also for a key that appears twice."""
    return YAML(typ="safe", pure=True).load(text)


def write_yaml(data: Any) -> str:
    """Plain data as YAML, one key or item per line, in the order given."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # declared by its default only
    writer.width = 110
    text = io.StringIO()
    writer.dump(data, text)
    return text.getvalue()
