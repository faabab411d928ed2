"""Rules for when there is no rule file: `scanward process`, and the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.registry import PIPELINES, pipeline_named
from pipelines.rules.file import parse_rules

if TYPE_CHECKING:
    from pipelines.rules.model import RuleSet

_HEAD = """\
# Scanward's built-in rules: careful ones, that read what the images are and not what the hospital calls them.
# They are those of deploy/rules.yaml, but for where the results go.
rules:
"""

BUILTIN_RULES = _HEAD + "".join(pipeline.rule for pipeline in PIPELINES.values())


def builtin_rules(pipeline: str | None = None) -> RuleSet:
    """The built-in rules; with the name of a pipeline, one rule that sends to it whatever could fill its roles.

    Raises:
        UnknownPipeline: There is none of that name.
    """
    if pipeline is None:
        return parse_rules(BUILTIN_RULES, "built-in rules")
    return parse_rules("rules:\n" + pipeline_named(pipeline).rule_when_named, "built-in rules")
