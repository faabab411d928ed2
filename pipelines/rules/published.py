"""Routing rules: what hospital IT writes into `rules.yaml`, and how it is read. See docs/rules.md."""

from __future__ import annotations

from typing import Any

from pipelines.rules.conditions import Condition
from pipelines.rules.file import Rejected, Reloaded, RuleFile, Unchanged, load_rules, parse_rules
from pipelines.rules.mistakes import AsksForRoles
from pipelines.rules.model import Conditions, Priority, Role, Rule, RuleSet
from pipelines.rules.schema import DEFINITIONS, conditions_schema

__all__ = [
    "AsksForRoles",
    "Condition",
    "Conditions",
    "Priority",
    "Rejected",
    "Reloaded",
    "Role",
    "Rule",
    "RuleFile",
    "RuleSet",
    "Unchanged",
    "load_rules",
    "parse_rules",
    "rule_schema",
]


def rule_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `rules.yaml`; published as deploy/rules.schema.json."""
    schema = RuleSet.model_json_schema()
    schema["$defs"] |= DEFINITIONS | {
        "Conditions": conditions_schema(Conditions.__doc__ or "", of_study=True),
        "Role": conditions_schema(Role.__doc__ or "", of_study=False),
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Scanward routing rules"}
    return head | {key: value for key, value in schema.items() if key not in head}
