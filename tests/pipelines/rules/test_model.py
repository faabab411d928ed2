from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.errors import RuleProblem, RulesInvalid
from pipelines.rules.conditions import Condition
from pipelines.rules.file import load_rules, parse_rules
from pipelines.rules.model import RulePriority, RuleSet
from pipelines.rules.regex import SEARCHED, compiled, search
from pipelines.rules.schema import rule_schema
from pipelines.rules.study.keywords import keyword_named

ROOT = Path(__file__).resolve().parents[3]
DESIGN = """
rules:
  - name: glioma
    pipeline: brain-mr
    study:  {StudyDescription: {matches: "(?i)brain|head|glioma"}}
    series:                                    # roles the pipeline asks for
      flair: {Modality: MR, SeriesDescription: {matches: "(?i)flair"}, plane: axial, images: {min: 12}}
      t1:    {Modality: MR, sequence: t1, contrast: false, optional: true}
      t1ce:  {Modality: MR, sequence: t1, contrast: true,  optional: true}
    priority: routine                          # stat | routine | low
    send_to: [pacs]
  - name: liver
    pipeline: abdomen-ct
    series:
      ct: {Modality: CT, plane: axial, images: {min: 20}, SliceThickness: {max: 5}, BodyPartExamined: {in: [ABDOMEN, LIVER, ""]}}
    send_to: [pacs]
"""  # noqa: E501 - as it stands in the design
PIPELINES: Any = {
    "brain-mr": SimpleNamespace(roles=("flair",), optional_roles=("t1", "t1ce", "t2")),
    "abdomen-ct": SimpleNamespace(roles=("ct",), optional_roles=()),
}


def condition(raw: object) -> Condition:
    return Condition.model_validate(raw)


def problems(text: str, **known: Any) -> list[RuleProblem]:
    with pytest.raises(RulesInvalid) as caught:
        parse_rules(text, Path("rules.yaml"), **known)
    return list(caught.value.problems)


def role(conditions: str) -> str:
    """A file with one rule whose only role has these conditions; they stand in line 5, from column 9 on."""
    return f"rules:\n- name: a\n  pipeline: p\n  series:\n    r: {{{conditions}}}\n  send_to: []\n"


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


def test_the_published_schema_is_current() -> None:
    published = json.loads((ROOT / "deploy" / "rules.schema.json").read_text(encoding="utf-8"))

    assert published == rule_schema(), "write it anew: make schema"


def test_the_schema_offers_what_rules_can_say() -> None:
    schema = rule_schema()
    offered = schema["$defs"]["Role"]["properties"]

    assert offered["plane"]["anyOf"][0]["enum"][:3] == ["axial", "coronal", "sagittal"]
    assert {"optional", "sequence", "contrast", "localizer", "images", "source_ae", "Modality"} <= set(offered)
    assert "plane" not in schema["$defs"]["Conditions"]["properties"]
    assert schema["$defs"]["Rule"]["required"] == ["name", "pipeline", "series", "send_to"]
    for name in (name for name in offered if name[0].isupper()):
        assert keyword_named(name)


@pytest.mark.parametrize(
    ("raw", "values", "holds"),
    [
        ("MR", ("MR",), True),
        ("MR", ("mr",), False),  # capitals count
        ("MR", ("CT", "MR"), True),  # one of several values
        (" MR ", ("MR",), True),
        (5, ("5.0",), True),
        (5, (5.0,), True),
        ("5", (5.0,), True),
        ("5", ("5.0",), False),  # text is compared as text
        (True, (True,), True),
        (False, (True,), False),
        (True, (1,), False),
        ("", (), True),
        ("", ("x",), False),
        ({"in": ["A", "B"]}, ("B",), True),
        ({"in": ["A", "B"]}, ("C",), False),
        ({"in": ["A", ""]}, (), True),
        ({"in": ["A"]}, (), False),
        ({"matches": "(?i)flair"}, ("Ax T2 FLAIR",), True),
        ({"matches": "^flair$"}, ("Ax FLAIR",), False),
        ({"matches": ".*"}, (), False),
        ({"matches": "^5"}, (5.0,), True),
        ({"min": 12}, (12,), True),
        ({"min": 12}, ("11.9",), False),
        ({"max": 5}, ("4.99",), True),
        ({"min": 2, "max": 5}, (1, 7), False),  # one value must fit all
        ({"min": 2, "max": 5}, (1, 3, 7), True),
        ({"max": 5}, ("thin",), False),
        ({"max": 5}, (), False),
        ({"exists": True}, ("x",), True),
        ({"exists": True}, (), False),
        ({"exists": False}, (), True),
        ({"exists": False}, ("x",), False),
        ({"not": "CHEST"}, ("HEAD",), True),
        ({"not": "CHEST"}, ("CHEST",), False),
        ({"not": "CHEST"}, (), False),  # a missing tag matches nothing
        ({"not": {"matches": "MIP"}}, ("ORIGINAL", "MIP"), False),  # none of several may match
        ({"not": {"exists": True}}, (), True),
        ({"not": {"exists": False}}, ("x",), True),
        ({"not": {"in": ["A", "B"]}, "matches": "^[A-D]$"}, ("C",), True),
        ({"not": {"in": ["A", "B"]}, "matches": "^[A-D]$"}, ("E",), False),
        ({"in": [False, ""]}, (), True),
        ({"in": [False, ""]}, (False,), True),
        ({"in": [False, ""]}, (True,), False),
        ({"equals": "MR"}, ("MR",), True),
        ("ORIGINAL\\PRIMARY\\AXIAL", ("ORIGINAL", "PRIMARY", "AXIAL"), True),  # several values, as DICOM writes them
        ("ORIGINAL\\PRIMARY", ("ORIGINAL", "PRIMARY", "AXIAL"), True),
        ("ORIGINAL\\PRIMARY\\LOCALIZER", ("ORIGINAL", "PRIMARY", "AXIAL"), False),
        ("PRIMARY\\ORIGINAL", ("ORIGINAL", "PRIMARY"), False),
        ("0.8\\0.8", (0.8,), True),
        ("\\", ("ORIGINAL",), False),
        ("ORIGINAL\\PRIMARY", (), False),
        ({"in": ["DERIVED\\SECONDARY", "ORIGINAL\\PRIMARY"]}, ("ORIGINAL", "PRIMARY", "AXIAL"), True),
        ({"not": "DERIVED\\SECONDARY"}, ("DERIVED", "SECONDARY", "MPR"), False),
        ({"equals": "ORIGINAL\\PRIMARY", "not": {"in": ["MIP"]}}, ("ORIGINAL", "PRIMARY", "MIP"), False),
        ({"equals": "ORIGINAL\\PRIMARY", "matches": "^AX"}, ("ORIGINAL", "PRIMARY", "SAGITTAL"), False),
    ],
)
def test_conditions(raw: object, values: tuple[Any, ...], holds: bool) -> None:
    assert condition(raw).holds(values) is holds


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("MR", "MR"),
        (False, "false"),
        ("", "empty"),
        ({"in": ["ABDOMEN", ""]}, "one of ABDOMEN, empty"),
        ({"matches": "(?i)flair"}, "matching (?i)flair"),
        ({"min": 12}, "at least 12"),
        ({"max": 5.5}, "at most 5.5"),
        ({"min": 1, "max": 5}, "from 1 to 5"),
        ({"exists": False}, "missing"),
        ({"not": {"matches": "MIP"}, "exists": True}, "present and not matching MIP"),
    ],
)
def test_conditions_in_words(raw: object, words: str) -> None:
    assert condition(raw).words() == words


def test_only_the_beginning_of_a_long_text_is_searched() -> None:
    assert search("end$", "x" * SEARCHED + "end") is None
    assert search("^x", "x" * 10**6)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*b", "(a*)*", "(.*a){12}", "(\\w+ ?)+x", "(a?){50}a", "a*a*a*a*a*b", "[", "(?P<a", "*"]
)
def test_expressions_that_could_hang_or_are_none_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"repe|regular expression"):
        compiled(pattern)


@pytest.mark.parametrize("pattern", ["(?i)^(?!.*loc).*flair", "T[12].*(ax|tra)", "(?:ab)+c", "a*a*a*b", ".*a.*b.*c.*d"])
def test_expressions_that_are_accepted_end_soon(pattern: str) -> None:
    began = time.perf_counter()
    for hostile in ("a" * 4000, "ab" * 2000, "abc" * 2000, "abcT1" * 1000):
        search(pattern, hostile)
    assert time.perf_counter() - began < 2


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


@pytest.mark.parametrize(
    ("conditions", "column", "key", "says"),
    [
        ("modality: MR", 9, "modality", "did you mean Modality?"),
        ("SeriesDescripton: x", 9, "SeriesDescripton", "did you mean SeriesDescription?"),
        ("series_description: x", 9, "series_description", "did you mean SeriesDescription?"),
        ("'(0008,103E)': x", 9, "(0008,103E)", "did you mean SeriesDescription?"),
        ("Xyzzy: x", 9, "Xyzzy", "neither a DICOM keyword nor one of plane, images"),
        ("optinal: true", 9, "optinal", "did you mean optional?"),
        ("plane: axail", 9, "plane", "did you mean axial?"),
        ("plane: Axial", 9, "plane", "did you mean axial?"),
        ("sequence: T1", 9, "sequence", "did you mean t1?"),
        ("sequence: {in: [t1, t3]}", 29, "sequence.in.1", "cannot be t3"),
        ("contrast: no", 9, "contrast", "give true or false"),
        ("images: many", 9, "images", "a number"),
        ("images: {minimum: 12}", 18, "images.minimum", "did you mean min?"),
        ("images: {min: twelve}", 18, "images.min", "must be a number"),
        ("images: {min: 5, max: 2}", 9, "images", "can never hold"),
        ("Modality: [MR, CT]", 9, "Modality", "{in: [...]}"),
        ("Modality: ", 9, "Modality", '""'),
        ("Modality: {}", 9, "Modality", "asks nothing"),
        ("Modality: {exists: false, matches: x}", 9, "Modality", "can never hold"),
        ("Modality: {in: []}", 9, "Modality", "at least one"),
        ("Modality: {in: [{a: 1}]}", 25, "Modality.in.0", "one value"),
        ("Modality: {min: 2}", 20, "Modality.min", "compares numbers"),
        ("PatientAge: {min: 18}", 22, "PatientAge.min", "compares numbers"),
        ("SeriesDescription: {matches: '['}", 29, "SeriesDescription.matches", "regular expression"),
        ("SeriesDescription: {matches: '(a+)+'}", 29, "SeriesDescription.matches", "forever"),
        ("SeriesDescription: {matches: '[[a]'}", 29, "SeriesDescription.matches", "two readings"),
        ("SoftwareVersions: 1.20", 9, "SoftwareVersions", "quotes"),
        ("ReferencedImageSequence: x", 9, "ReferencedImageSequence", "cannot compare"),
        ("PixelData: x", 9, "PixelData", "cannot compare"),
        (r'ProtocolName: {matches: "\bt1"}', 24, "ProtocolName.matches", "use single quotes"),
        (r'ImageType: "ORIGINAL\PRIMARY"', 9, "ImageType", "use single quotes"),
        ("PatientBirthDate: x", 9, "PatientBirthDate", "not kept for rules; ask for PatientAge"),
        ("ReferringPhysicianName: x", 9, "ReferringPhysicianName", "not kept for rules"),
        ("PatientComments: x", 9, "PatientComments", "not kept for rules"),
        ("TransferSyntaxUID: x", 9, "TransferSyntaxUID", "belongs to the file"),
        ("optional: maybe", 9, "optional", "true or false"),
        ("Modality: {not: {in: [MR], macthes: x}}", 36, "Modality.not.macthes", "did you mean matches?"),
    ],
)
def test_mistakes_in_conditions_are_named_at_their_place(conditions: str, column: int, key: str, says: str) -> None:
    (found,) = [item for item in problems(role(conditions)) if "every role is optional" not in item.message]

    assert (found.file, found.line, found.column) == ("rules.yaml", 5, column)
    assert found.key == f"rules.a.series.r.{key}"
    assert says in found.message


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("", 1, "rules", "required"),
        ("- a\n", 1, "", "mapping"),
        ("rules:\n", 1, "rules", "list"),
        ("rule: []\n", 1, "rule", "did you mean rules?"),
        ("rules: [\n", 2, "", "expected"),
        (role(r'ImageType: "ORIGINAL\\PRIMARY\AXIAL"'), 5, "", "use single quotes"),
        ("rules:\n- name: a\n  name: b\n", 3, "name", "appears twice (first in line 2)"),
        ("rules:\n- &x [*x]\n", 2, "", "itself"),
        ("rules:\n- {[a, b]: c}\n", 2, "", "must be text"),
        ("rules: []\nx: \x07\n", 2, "", "not allowed"),
        ("rules: !python/name:os.system\n", 1, "", "not known here"),
        ("rules: " + "[" * 3000, 1, "", "nested too deeply"),
        ("rules:\n- a\n", 2, "rules.number 1", "mapping"),
        (DESIGN.replace("name: liver", "name: glioma"), 12, "rules.glioma.name", "another rule"),
        (DESIGN.replace("routine  ", "urgent  "), 10, "rules.glioma.priority", "stat, routine, low"),
        (
            DESIGN.replace("pipeline: brain-mr", "pipline: brain-mr"),
            4,
            "rules.glioma.pipline",
            "did you mean pipeline?",
        ),
        (DESIGN.replace("send_to: [pacs]\n  -", "send_to: pacs\n  -"), 11, "rules.glioma.send_to", "list"),
        (DESIGN.replace("[pacs]\n  -", "[pacs, pacs]\n  -"), 11, "rules.glioma.send_to", "twice"),
        (DESIGN.replace("{StudyDescription:", "{plane:"), 5, "rules.glioma.study.plane", "under series"),
        (DESIGN.replace("images: {min: 12}}", "optional: true}"), 6, "rules.glioma.series", "every role is optional"),
    ],
)
def test_mistakes_in_the_file_are_named_at_their_place(text: str, line: int, key: str, says: str) -> None:
    found = [item for item in problems(text) if item.key == key]

    assert found
    assert found[0].line == line
    assert says in found[0].message


def test_a_missing_key_is_named_at_its_rule() -> None:
    (found,) = problems("rules:\n- name: a\n  pipeline: p\n  series: {r: {Modality: MR}}\n")

    assert (found.line, found.key) == (2, "rules.a.send_to")
    assert "[] to keep them here" in found.message


def test_all_mistakes_are_listed_in_the_order_of_the_file() -> None:
    text = DESIGN.replace("Modality: MR", "modality: MR").replace("axial", "axail").replace("priority", "prio")

    found = problems(text)

    assert [item.line for item in found] == sorted(item.line for item in found)
    assert [item.key.removeprefix("rules.") for item in found] == [
        "glioma.series.flair.modality",
        "glioma.series.flair.plane",
        "glioma.series.t1.modality",
        "glioma.series.t1ce.modality",
        "glioma.prio",
        "liver.series.ct.plane",
    ]
    with pytest.raises(RulesInvalid) as caught:
        parse_rules(text, Path("rules.yaml"))
    assert str(caught.value).splitlines()[0].startswith("rules.yaml:7:15: rules.glioma.series.flair.modality: ")


def test_a_name_or_key_that_appears_twice_hides_no_other_mistake() -> None:
    text = (
        DESIGN.replace("name: liver", "name: glioma")
        .replace("plane: axial", "plane: axail")
        .replace("pipeline: abdomen-ct", "pipeline: abdomen")
        .replace("[pacs]", "[pac]")
        .replace("    priority: routine", "    pipeline: brain-mr")
    )

    found = [(item.line, item.key) for item in problems(text, known_pipelines=PIPELINES, known_destinations={"pacs"})]

    assert found == [
        (7, "rules.glioma.series.flair.plane"),
        (10, "pipeline"),
        (11, "rules.glioma.send_to.0"),
        (12, "rules.glioma.name"),
        (13, "rules.glioma.pipeline"),
        (15, "rules.glioma.series.ct.plane"),
        (16, "rules.glioma.send_to.0"),
    ]


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        (("pipeline: brain-mr", "pipeline: brain-mri"), "pipeline", "did you mean brain-mr?"),
        (("send_to: [pacs]\n  -", "send_to: [pac]\n  -"), "send_to.0", "did you mean pacs?"),
        (("flair: {", "flare: {"), "series.flare", "has no role flare; it asks for flair, t1, t1ce"),
        (("flair: {", "flare: {"), "series", "cannot do without flair"),
        (("flair: {", "flair: {optional: true, "), "series.flair.optional", "cannot do without flair"),
    ],
)
def test_names_that_there_are_not(change: tuple[str, str], key: str, says: str) -> None:
    text = DESIGN.replace(*change).replace("t1:    {Modality: MR, sequence: t1, contrast: false, optional: true}", "")
    if "optional" in change[1]:
        text = text.replace(
            "t1ce:  {Modality: MR, sequence: t1, contrast: true,  optional: true}", "t1ce: {Modality: MR}"
        )

    found = problems(text, known_pipelines=PIPELINES, known_destinations={"pacs"})

    assert any(item.key == f"rules.glioma.{key}" and says in item.message for item in found), found


def test_names_of_pipelines_suffice() -> None:
    assert parse_rules(DESIGN, known_pipelines=PIPELINES.keys())
    assert problems(DESIGN, known_pipelines=["brain-mr"])[0].key == "rules.liver.pipeline"


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(RulesInvalid, match="no such file"):
        load_rules(tmp_path / "rules.yaml")
    (tmp_path / "rules.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RulesInvalid, match="cannot be read"):
        load_rules(tmp_path / "rules.yaml")


SNIPPETS = [
    *("&x ", "*x", "<<: ", "!!int ", "!!map ", "? ", "- ", ": ", "\n", "  ", "%", "\x07", "1"),
    *"{}[]|'\"",
]


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 5), st.sampled_from(SNIPPETS)), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_whatever_is_typed_is_a_rule_set_or_a_problem_at_a_place(changes: list[tuple[int, int, str]]) -> None:
    text = DESIGN
    for at, dropped, snippet in changes:
        text = text[:at] + snippet + text[at + dropped :]
    found: list[RuleProblem] = []
    try:
        parse_rules(text)
    except RulesInvalid as error:
        found.extend(error.problems)
    assert all(item.line >= 1 and item.column >= 1 and item.message for item in found)


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
