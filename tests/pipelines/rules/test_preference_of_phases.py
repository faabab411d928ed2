from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.rules.builtin import builtin_rules
from pipelines.rules.explain import explain
from pipelines.rules.file import load_rules, parse_rules
from pipelines.rules.model import RuleSet
from pipelines.rules.routing import Route, Unmatched, route
from pipelines.rules.study.attributes import StudyAttributes
from tests.pipelines.rules.studies import ct, scan, study

ROOT = Path(__file__).resolve().parents[3]

ANY_PHASE = parse_rules("""
rules:
  - {name: liver, pipeline: abdomen-ct, series: {ct: {Modality: CT}}, send_to: []}
""")


def four_phases() -> StudyAttributes:
    """As a liver is examined: the late phase was acquired last, the arterial one has the finest slices."""
    return study(
        scan(1, "120000", "Abdomen nativ", BodyPartExamined="ABDOMEN"),
        scan(2, "120530", "Abdomen arteriell", BodyPartExamined="ABDOMEN", slices=200, spacing=1),
        scan(3, "120605", "Abdomen portalvenös", BodyPartExamined="ABDOMEN"),
        scan(4, "121030", "Abdomen spät", BodyPartExamined="ABDOMEN"),
    )


@pytest.mark.parametrize(
    "rules", [builtin_rules(), load_rules(ROOT / "deploy" / "rules.yaml"), builtin_rules("abdomen-ct")]
)
def test_the_portal_phase_is_read(rules: RuleSet) -> None:
    (found,) = [one for one in route_of(four_phases(), rules) if one.pipeline == "abdomen-ct"]

    assert found.roles == {"ct": "1.3"}


def route_of(whole: StudyAttributes, rules: RuleSet) -> list[Route]:
    found = route(whole, rules)
    assert not isinstance(found, Unmatched), found
    return found


@pytest.mark.parametrize(
    ("better", "worse"),
    [("portal", "5.0"), ("5.0", "spät"), ("spät", "arteriell"), ("arteriell", "nativ"), ("spät", "nativ")],
)
def test_the_order_of_phases_goes_before_more_slices(better: str, worse: str) -> None:
    whole = study(ct(1, better, slices=20), ct(2, worse, slices=200, spacing=1, ConvolutionKernel="B30f"))

    (found,) = route_of(whole, ANY_PHASE)

    assert found.roles == {"ct": "1.1"}
    assert "the network is for portal" in explain(whole, ANY_PHASE).rules[0].roles[0].because


def test_a_projection_of_the_right_phase_is_no_scan() -> None:
    whole = study(ct(1, "portal MIP"), ct(2, "arteriell"))

    assert route_of(whole, ANY_PHASE)[0].roles == {"ct": "1.2"}
