from __future__ import annotations

import io
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipelines.yaml_file import LocatedYaml, YamlFault

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "rules.yaml"


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ((), (1, 1)),
        (("a",), (1, 1)),
        (("a", "b"), (1, 8)),
        (("c", "d"), (2, 13)),
        (("c", "b"), (2, 1)),  # came by the merge, so it stands elsewhere
        (("e", 1, "x", 1), (3, 16)),
        (("e", 7), (3, 1)),
        (("none", "such"), (1, 1)),
    ],
)
def test_every_key_has_a_place(key: tuple[str | int, ...], place: tuple[int, int]) -> None:
    found = LocatedYaml.parse("a: &x {b: 1}\nc: {<<: *x, d: 2}\ne: [1, {x: [3, 4]}]\n", "f.yaml")

    assert found.place(key) == place
    assert found.where(key) == f"f.yaml:{place[0]}:{place[1]}"


def test_values_are_those_of_json_and_all_else_is_text() -> None:
    text = "[0, -1, +5, 1.20, .5, 1e3, true, null, ~, no, on, 007, 0x1F, 0o7, 1_000, 12:30, 2026-01-01, 2026-13-45]"

    assert LocatedYaml.parse(f"a: {text}", "f.yaml").data["a"] == [
        *(0, -1, 5, 1.2, 0.5, 1000.0, True, None, None),
        *("no", "on", "007", "0x1F", "0o7", "1_000", "12:30", "2026-01-01", "2026-13-45"),
    ]


def test_data_is_of_pythons_own_types() -> None:
    data = LocatedYaml.parse("a: {b: [1, 1.5, x]}\nc: |\n  y\n", "f").data

    assert {type(data), type(data["a"])} == {dict}
    assert [type(item) for item in (*data["a"]["b"], data["c"])] == [int, float, str, str]


def test_comments_are_kept_for_whoever_writes_the_file_again() -> None:
    written = io.StringIO()
    YAML().dump(LocatedYaml.read(EXAMPLE).tree, written)

    assert written.getvalue().count("#") == EXAMPLE.read_text(encoding="utf-8").count("#")


def test_keys_that_appear_twice_are_all_named_and_the_first_value_counts() -> None:
    found = LocatedYaml.parse("a: 1\nb: {c: 2, c: 3}\na: 4\n", "f.yaml")

    assert found.data == {"a": 1, "b": {"c": 2}}
    assert {(fault.line, fault.column, fault.key) for fault in found.repeated} == {(2, 11, "c"), (3, 1, "a")}


def test_aliases_of_aliases_cost_nothing() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]

    found = LocatedYaml.parse("\n".join(lines), "f.yaml").data

    assert found["a39"][0] is found["a39"][1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: *b", ":1:4: found undefined alias"),
        ("a: &a {b: *a}", ":1:4: an alias refers to itself"),
        ("a: !!python/object:x 1", ":1:4: tag:yaml.org,2002:python/object:x is not known here"),
        ("? [a]\n: b", ":1:3: a key must be text"),
        ("a: 1\n---\nb: 2", ":2:1: "),
        ('a: "\\A"', "use single quotes"),
        ("a: !!int x", "cannot be understood"),
    ],
)
def test_what_is_wrong_is_named_at_its_place(text: str, says: str) -> None:
    with pytest.raises(YamlFault) as caught:
        LocatedYaml.parse(text, "f.yaml")

    assert says in str(caught.value)
    assert str(caught.value).startswith("f.yaml:")


def test_a_comment_that_cannot_be_kept_is_named_at_its_place():
    text = "rules:\n  - series:  # roles\n      f\n\nlair: {}\n"
    with pytest.raises(YamlFault, match=r"rules.yaml:2:1: a comment stands between a key and its value"):
        LocatedYaml.parse(text, "rules.yaml")
