from __future__ import annotations

from pathlib import Path

from pipelines.rules.builtin import BUILTIN_RULES, builtin_rules
from pipelines.rules.file import load_rules
from pipelines.rules.routing import Unmatched, route
from tests.pipelines.rules.studies import ct, study

ROOT = Path(__file__).resolve().parents[3]


def test_without_a_phase_that_the_network_knows_the_shipped_rule_says_so() -> None:
    found = route(study(ct(1, "Abdomen arteriell")), builtin_rules())

    assert isinstance(found, Unmatched)
    assert found.reasons[1] == "rule liver: role ct: no series with phase one of portal, empty; saw arterial"


def test_the_built_in_rules_are_those_of_the_example() -> None:
    example = load_rules(ROOT / "deploy" / "rules.yaml")

    assert [(rule.pipeline, rule.study, dict(rule.series)) for rule in builtin_rules()] == [
        (rule.pipeline, rule.study, dict(rule.series)) for rule in example
    ]
    assert "CHEST," in BUILTIN_RULES
