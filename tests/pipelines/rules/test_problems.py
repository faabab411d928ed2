from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import RuleProblem, RulesInvalid
from pipelines.rules.file import parse_rules
from tests.pipelines.rules.rule_files import DESIGN, PIPELINES, problems, role


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
