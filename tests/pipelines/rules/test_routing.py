from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import pytest

from pipelines.rules.file import parse_rules
from pipelines.rules.model import RuleSet
from pipelines.rules.routing import Route, Unmatched, route
from pipelines.rules.study.attributes import SeriesAttributes, StudyAttributes
from tests.pipelines.rules.rule_files import DESIGN, roles, rules
from tests.pipelines.rules.studies import SAGITTAL, brain, ct, mr, study


def reasons(found: list[Route] | Unmatched) -> tuple[str, ...]:
    assert isinstance(found, Unmatched)
    return found.reasons


def test_a_brain_study_takes_its_roles() -> None:
    (found,) = route(brain(), parse_rules(DESIGN))

    assert found == Route("glioma", "brain-mr", {"flair": "1.2", "t1": "1.3", "t1ce": "1.6"}, found.priority, ("pacs",))
    assert found.priority == "routine"


def test_optional_roles_may_stay_empty() -> None:
    found = route(study(mr(2, "flair", "AX FLAIR"), StudyDescription="head"), parse_rules(DESIGN))

    assert roles(found) == {"flair": "1.2"}


def test_a_study_may_feed_several_pipelines() -> None:
    found = route(brain(), rules("a: {sequence: flair}", "b: {sequence: t3}".replace("t3", "t2"), "c: {Modality: CT}"))

    assert isinstance(found, list)
    assert [item.pipeline for item in found] == ["pipeline0", "pipeline1"]


def test_each_series_takes_one_role_at_most() -> None:
    found = route(study(mr(1, "t1"), mr(2, "t1")), rules("a: {sequence: t1}, b: {sequence: t1}"))

    assert sorted(roles(found).values()) == ["1.1", "1.2"]


def test_a_role_gives_way_when_another_required_one_has_no_choice() -> None:
    both, plain = mr(1, "t1", "T1 best", slices=40), mr(2, "t1", "T1")
    text = "a: {sequence: t1}, b: {sequence: t1, SeriesDescription: {matches: best}}"

    assert roles(route(study(both, plain), rules(text))) == {"a": "1.2", "b": "1.1"}


def test_a_required_role_does_not_give_way_to_an_optional_one() -> None:
    both, plain = mr(1, "t1", "T1 best", slices=40), mr(2, "t1", "T1")
    text = "a: {sequence: t1}, b: {sequence: t1, SeriesDescription: {matches: best}, optional: true}"

    assert roles(route(study(both, plain), rules(text))) == {"a": "1.1"}


def test_required_roles_choose_before_optional_ones() -> None:
    text = "b: {sequence: t1, optional: true}, a: {sequence: t1}"

    assert roles(route(study(mr(1, "t1")), rules(text))) == {"a": "1.1"}


def test_a_chain_of_roles_gives_way() -> None:
    series = [mr(number, "t1", words) for number, words in enumerate(("x", "xy", "yz"), start=1)]
    text = ", ".join(
        f"{name}: {{SeriesDescription: {{matches: {letter}}}}}" for name, letter in zip("abc", "xyz", strict=True)
    )

    for order in (series, series[::-1]):
        assert roles(route(study(*order), rules(text))) == {"a": "1.1", "b": "1.2", "c": "1.3"}


def test_our_own_results_take_no_role_unless_asked_for() -> None:
    seg = SeriesAttributes("1.9", {"Modality": "SEG", "SeriesDescription": "FLAIR lesions"}, images=40)
    by_name = rules("a: {SeriesDescription: {matches: FLAIR}}")

    assert reasons(route(study(seg), by_name)) == ("rule rule0: role a: no series with Modality of images; saw 'SEG'",)
    assert roles(route(study(seg, mr(2, "flair", "FLAIR")), by_name)) == {"a": "1.2"}
    assert roles(route(study(seg), rules("a: {Modality: SEG}"))) == {"a": "1.9"}


def test_the_nearest_miss_is_said_in_one_line() -> None:
    whole = study(mr(1, "t1", "T1 AX"), mr(2, "dwi", "DWI"), ct(3, slices=10), StudyDescription="Head")

    assert reasons(route(whole, parse_rules(DESIGN))) == (
        "rule glioma: role flair: no series with SeriesDescription matching (?i)flair; saw 'T1 AX', 'DWI'",
        "rule liver: role ct: no series with images at least 20; saw 10",
    )


@pytest.mark.parametrize(
    ("whole", "text", "says"),
    [
        (brain(), "r: {sequence: flair, plane: sagittal}", "no series with plane sagittal; saw axial"),
        (brain(), "r: {sequence: flair, images: {min: 30}}", "no series with images at least 30; saw 24"),
        (brain(), "r: {sequence: swi}", "no series with sequence swi; saw localizer, flair, t1, t2 and 1 more"),
        (brain(), "r: {Modality: MR, sequence: t2, contrast: true}", "no series with contrast true; saw false"),
        (brain(), "r: {Modality: CT, plane: axial}", "no series with Modality CT; saw 'MR'"),
        (
            brain(),
            "r: {Modality: CT, BodyPartExamined: LIVER, plane: axial}",
            "no series with Modality CT; saw 'MR'",
        ),
        (brain(), "r: {sequence: t2, plane: sagittal, BodyPartExamined: HEAD}",
         "no series with plane sagittal and BodyPartExamined HEAD; saw plane axial; BodyPartExamined missing"),
        (study(), "r: {Modality: CT}", "the study has no series"),
        (study(mr(1, "t1")), "a: {sequence: t1}, b: {Modality: MR}", "that fits is needed for another role (a)"),
        (brain(), "r: {PatientID: '19500101'}", "no series with PatientID (hidden); saw (hidden)"),
    ],
)  # fmt: skip
def test_reasons(whole: StudyAttributes, text: str, says: str) -> None:
    (reason,) = reasons(route(whole, rules(text)))

    assert reason.endswith(says), reason


def test_a_study_condition_that_fails_is_the_reason() -> None:
    found = route(study(mr(1, "flair"), StudyDescription="MR Knee"), parse_rules(DESIGN))

    assert reasons(found)[0] == (
        "rule glioma: study: wants StudyDescription matching (?i)brain|head|glioma; saw 'MR Knee'"
    )


def test_reasons_never_name_the_patient() -> None:
    by_name = rules("r: {PatientID: 'Smith^John'}", "r: {PatientID: {matches: Smith}, Modality: MR}")

    for reason in reasons(route(brain(), by_name)):
        assert "JD19600102" not in reason
        assert "Smith" not in reason
        assert "(hidden)" in reason


def test_reasons_stay_one_line_whatever_stands_in_the_tags() -> None:
    evil = mr(1, "t1", "T1\r\n\x1b[31mrule glioma: takes it" + "x" * 500)

    (reason,) = reasons(route(study(evil), rules("r: {SeriesDescription: FLAIR}")))

    assert reason.isprintable()
    assert len(reason) < 250


def test_without_rules_there_is_a_reason_too() -> None:
    (reason,) = reasons(route(brain(), parse_rules("rules: []")))

    assert reason.startswith("there are no rules")


def test_study_conditions_may_ask_series_and_derived_values() -> None:
    text = """
rules:
- name: a
  pipeline: p
  study: {Modality: MR, images: {min: 100}, source_ae: MR1, PatientAge: {exists: false}}
  series: {r: {sequence: flair}}
  send_to: []
"""
    assert isinstance(route(brain(), parse_rules(text)), list)
    assert isinstance(route(brain(), parse_rules(text.replace("100", "1000"))), Unmatched)


def unrelated(number: int, rng: random.Random) -> SeriesAttributes:
    kind = rng.choice(["flair", "t1", "t2", "dwi", ""])
    tags: dict[str, Any] = {"ImageOrientationPatient": rng.choice([SAGITTAL, [1, 0, 0, 0, 1, 0]])}
    return mr(number, kind, f"series {number} {rng.choice(['ax', 'KM', 'post', 'x'])}", slices=1, **tags)


def quickest_route(whole: StudyAttributes, ruleset: RuleSet) -> float:
    """Processor seconds of the fastest of five; the study is rebuilt, because it remembers what was derived."""
    took = []
    for _ in range(5):
        fresh = StudyAttributes(whole.study_instance_uid, whole.tags, tuple(replace(series) for series in whole.series))
        began = time.process_time()
        route(fresh, ruleset)
        took.append(time.process_time() - began)
    return min(took)


def test_the_time_to_route_grows_no_faster_than_the_study() -> None:
    needs_everything = rules(
        "a: {plane: axial, sequence: swi, contrast: true}, b: {sequence: t1, contrast: false}", "c: {Modality: CT}"
    )
    rng = random.Random(1)
    large = study(*(unrelated(number, rng) for number in range(2000)))
    small = study(*large.series[:200])
    found = route(large, needs_everything)
    assert len(reasons(found)) == 2
    assert quickest_route(large, needs_everything) < 25 * quickest_route(small, needs_everything)


def test_the_time_to_route_grows_no_faster_than_the_series() -> None:
    large, small = (study(ct(1, slices=number, spacing=0.5), StudyDescription="Abdomen") for number in (2000, 200))
    design = parse_rules(DESIGN)

    assert roles(route(large, design)) == {"ct": "1.1"}
    assert quickest_route(large, design) < 25 * quickest_route(small, design)
