from __future__ import annotations

import json

from pipelines.rules.explain import Explanation, RoleExplanation, explain
from pipelines.rules.file import parse_rules
from pipelines.rules.model import RulePriority
from pipelines.rules.routing import Unmatched, plan_jobs, route
from tests.pipelines.rules.rule_files import DESIGN, rules
from tests.pipelines.rules.studies import brain, ct, mr, study


def role(found: Explanation, rule: str, name: str) -> RoleExplanation:
    return next(role for item in found.rules if item.rule == rule for role in item.roles if role.role == name)


def test_every_rule_role_series_and_condition_is_there() -> None:
    found = explain(brain(), parse_rules(DESIGN))

    assert [rule.rule for rule in found.rules] == ["glioma", "liver"]
    assert [role.role for role in found.rules[0].roles] == ["flair", "t1", "t1ce"]
    for item in (role for rule in found.rules for role in rule.roles):
        assert {verdict.series_instance_uid for verdict in item.series} == {f"1.{number}" for number in range(1, 7)}
    keys = [check.key for check in role(found, "glioma", "flair").series[0].checks]
    assert keys == ["Modality", "SeriesDescription", "plane", "images"]


def test_it_agrees_with_route() -> None:
    for whole in (brain(), study(ct(1), BodyPartExamined="ABDOMEN"), study(mr(1, "t1")), study()):
        found, routes = explain(whole, parse_rules(DESIGN)), route(whole, parse_rules(DESIGN))
        if isinstance(routes, Unmatched):
            assert tuple(rule.because for rule in found.rules) == routes.reasons
            assert found.because == routes.reasons
            assert found.takers == found.jobs == ()
            continue
        assert found.jobs == tuple(plan_jobs(routes))
        assert found.because == ()
        assert [rule.rule for rule in found.takers] == [item.rule for item in routes]
        for rule, taken in zip(found.takers, routes, strict=True):
            assert {item.role: item.taken_by for item in rule.roles if item.taken_by} == dict(taken.roles)


def test_conditions_say_what_was_wanted_and_seen() -> None:
    found = explain(brain(), parse_rules(DESIGN))
    t2 = next(item for item in role(found, "glioma", "flair").series if item.series_instance_uid == "1.4")

    assert [(check.key, check.wanted, check.seen, check.passed) for check in t2.checks] == [
        ("Modality", "MR", "MR", True),
        ("SeriesDescription", "matching (?i)flair", "AX T2", False),
        ("plane", "axial", "axial", True),
        ("images", "at least 12", "24", True),
    ]
    assert found.rules[0].study[0].seen == "MR Brain"


def test_derived_attributes_come_with_their_reason() -> None:
    found = explain(brain(), parse_rules(DESIGN))
    summary = found.series[1]
    checks = {check.key: check for check in role(found, "glioma", "t1").series[0].checks}

    assert summary.derived == {
        "plane": "axial",
        "sequence": "flair",
        "contrast": "false",
        "phase": "unknown",
        "localizer": "false",
        "units": "unknown",
    }
    assert summary.because["sequence"] == "inversion at 2500 ms nulls fluid, TE 120 ms"
    assert checks["sequence"].because == "spin echo, TR 500 ms, TE 10 ms"
    assert checks["Modality"].because == ""


def test_the_preferred_series_comes_first_with_the_reason() -> None:
    whole = study(mr(1, "t1", "T1", slices=20), mr(2, "t1", "T1", slices=40), mr(3, "t1", "T1", slices=30), mr(4, "t2"))
    found = role(explain(whole, rules("r: {sequence: t1}")), "rule0", "r")

    assert [(item.series_instance_uid, item.rank) for item in found.series] == [
        ("1.2", 1),
        ("1.3", 2),
        ("1.1", 3),
        ("1.4", None),
    ]
    assert found.because == "more slices (40 against 30)"
    assert [item.preferred for item in found.series[:3]] == [
        "more slices (40 against 30)",
        "more slices (30 against 20)",
        "",
    ]


def test_a_series_that_has_another_role_is_said() -> None:
    whole = study(mr(1, "t1", slices=40), mr(2, "t1"))
    found = explain(whole, rules("a: {sequence: t1}, b: {sequence: t1}, c: {sequence: t1, optional: true}"))

    assert role(found, "rule0", "b").because == "1 better one has another role"
    assert role(found, "rule0", "c").because == "every series that fits has another role"
    assert role(found, "rule0", "c").taken_by is None


def test_series_that_do_not_fit_are_ordered_by_how_near_they_came() -> None:
    whole = study(ct(1), mr(2, "t2", slices=5), mr(3, "t2"))
    found = role(explain(whole, rules("r: {Modality: MR, sequence: t1, images: {min: 12}}")), "rule0", "r")

    assert [item.series_instance_uid for item in found.series] == ["1.3", "1.2", "1.1"]


def test_why_a_series_that_holds_no_images_takes_no_role() -> None:
    seg = ct(1, "segmentation", Modality="SEG")
    found = role(explain(study(seg), rules("r: {SeriesDescription: segmentation}")), "rule0", "r")

    assert [(check.key, check.wanted, check.seen, check.passed) for check in found.series[0].checks] == [
        ("SeriesDescription", "segmentation", "segmentation", True),
        ("Modality", "of images", "SEG", False),
    ]


def test_it_is_plain_data_without_the_patients_name() -> None:
    text = "r: {PatientID: {matches: Doe}, sequence: flair}"
    said = json.dumps(explain(brain(), rules(text)).to_dict())

    assert json.loads(said)["rules"][0]["roles"][0]["series"][0]["checks"][0]["seen"] == "(hidden)"
    for secret in ("Doe", "Jane", "19600102"):
        assert secret not in said


def test_the_rules_can_be_told_by_their_digest() -> None:
    found = parse_rules(DESIGN)

    assert explain(brain(), found).rules_digest == found.digest


def test_rules_that_read_the_same_series_with_the_same_pipeline_share_one_job() -> None:
    text = """
rules:
  - {name: all, pipeline: p, series: {r: {sequence: t1}}, priority: low, send_to: [pacs]}
  - {name: children, pipeline: p, series: {r: {Modality: MR}}, priority: stat, send_to: [kids, pacs]}
  - {name: other network, pipeline: q, series: {r: {Modality: MR}}, send_to: []}
"""
    found = explain(study(mr(1, "t1")), parse_rules(text))

    assert [rule.rule for rule in found.takers] == ["all", "children", "other network"]
    assert [(job.rules, job.pipeline, job.priority, job.send_to) for job in found.jobs] == [
        (("all", "children"), "p", RulePriority.STAT, ("pacs", "kids")),
        (("other network",), "q", RulePriority.ROUTINE, ()),
    ]
