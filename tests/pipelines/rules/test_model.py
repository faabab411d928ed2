from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.errors import RulesInvalid
from pipelines.rules.file import load_rules, parse_rules
from pipelines.rules.model import RulePriority, RuleSet
from tests.pipelines.rules.rule_files import DESIGN, PIPELINES, role

ROOT = Path(__file__).resolve().parents[3]


def test_the_rules_of_the_design_load_as_they_are() -> None:
    rules = parse_rules(DESIGN, known_pipelines=PIPELINES, known_destinations={"pacs"})

    glioma, liver = rules
    assert (glioma.name, glioma.pipeline, glioma.priority, glioma.send_to) == (
        "glioma",
        "brain-mr",
        RulePriority.ROUTINE,
        ("pacs",),
    )
    assert list(glioma.series) == ["flair", "t1", "t1ce"]
    assert [role.optional for role in glioma.series.values()] == [False, True, True]
    assert list(liver.series["ct"].conditions) == [
        "Modality",
        "plane",
        "images",
        "SliceThickness",
        "BodyPartExamined",
    ]


def test_the_example_in_deploy_is_right() -> None:
    rules = load_rules(ROOT / "deploy" / "rules.yaml", known_pipelines=PIPELINES, known_destinations={"pacs"})

    assert {rule.pipeline for rule in rules} == set(PIPELINES)


def test_rules_are_frozen_and_survive_being_written_out() -> None:
    rules = parse_rules(DESIGN)

    with pytest.raises(ValidationError):
        rules.rules[0].name = "other"  # type: ignore[misc]
    assert RuleSet.model_validate(rules.model_dump(mode="json")) == rules
    assert RuleSet.model_validate_json(rules.model_dump_json()) == rules


def test_digest_changes_with_what_the_rules_say_and_not_with_comments() -> None:
    digest = parse_rules(DESIGN).digest

    assert parse_rules(DESIGN.replace("# roles the pipeline asks for", "")).digest == digest
    assert parse_rules(DESIGN.replace("min: 12", "min: 13")).digest != digest
    assert parse_rules(DESIGN.replace("[pacs]", "[pacs, archive]")).digest != digest


def test_yaml_values_mean_what_they_look_like() -> None:
    text = role(
        "PatientID: 007, ContrastBolusAgent: NO, StudyTime: 12:30, StudyDate: {min: 20260101}, StudyID: 12, "
        "ProtocolName: 2026-13-45, SeriesDescription: 2026-01-01"
    )
    conditions = parse_rules(text).rules[0].series["r"].conditions

    assert conditions["PatientID"].equals == "007"
    assert conditions["ContrastBolusAgent"].equals == "NO"
    assert conditions["StudyTime"].equals == "12:30"
    assert conditions["StudyDate"].holds(("20260315",))
    assert conditions["StudyID"].equals == "12"
    assert conditions["ProtocolName"].equals == "2026-13-45"
    assert conditions["SeriesDescription"].equals == "2026-01-01"


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(RulesInvalid, match="no such file"):
        load_rules(tmp_path / "rules.yaml")
    (tmp_path / "rules.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RulesInvalid, match="cannot be read"):
        load_rules(tmp_path / "rules.yaml")


def test_an_anchor_may_be_used_again() -> None:
    text = role("ProtocolName: {in: [&x a, &x b, *x]}")

    assert parse_rules(text).rules[0].series["r"].conditions["ProtocolName"].in_ == ("a", "b", "b")


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    text = """
rules:
  - name: a
    pipeline: p
    series: {one: &t1 {Modality: MR, sequence: t1}, two: {<<: *t1, contrast: true}}
    send_to: []
"""
    two = parse_rules(text).rules[0].series["two"]

    assert set(two.conditions) == {"Modality", "sequence", "contrast"}
