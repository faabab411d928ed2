from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.errors import RulesInvalid
from pipelines.rules.file import Rejected, Reloaded, RuleFile, Unchanged

RULES = """
rules:
  - name: liver
    pipeline: abdomen-ct
    series: {ct: {Modality: CT, images: {min: 20}}}
    send_to: [pacs]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES, encoding="utf-8")
    return path


def test_nothing_happens_while_the_file_stays(path: Path) -> None:
    file = RuleFile(path)

    assert file.refresh() == Unchanged()
    assert [rule.name for rule in file.current] == ["liver"]


def test_a_changed_file_comes_into_force(path: Path) -> None:
    file = RuleFile(path)
    before = file.current
    path.write_text(RULES.replace("20", "30"), encoding="utf-8")

    found = file.refresh()

    assert isinstance(found, Reloaded)
    assert file.current is found.rules
    assert file.current.digest != before.digest
    assert file.refresh() == Unchanged()


def test_a_change_is_seen_even_when_size_and_time_are_the_same(path: Path) -> None:
    file = RuleFile(path)
    stamp = path.stat()
    path.write_text(RULES.replace("20", "30"), encoding="utf-8")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    assert isinstance(file.refresh(), Reloaded)


def test_a_file_replaced_by_an_editor_is_seen(path: Path) -> None:
    file = RuleFile(path)
    other = path.with_suffix(".tmp")
    other.write_text(RULES.replace("liver", "leber"), encoding="utf-8")
    other.replace(path)

    assert isinstance(file.refresh(), Reloaded)


def test_comments_are_no_change(path: Path) -> None:
    file = RuleFile(path)
    path.write_text(RULES + "# a comment\n", encoding="utf-8")

    assert file.refresh() == Unchanged()


def test_a_broken_file_changes_nothing_and_says_so_once(path: Path) -> None:
    file = RuleFile(path)
    before = file.current
    path.write_text(RULES.replace("Modality", "Modalty"), encoding="utf-8")

    found = file.refresh()

    assert isinstance(found, Rejected)
    assert "did you mean Modality?" in found.problems[0].message
    assert file.current is before
    assert file.refresh() == Unchanged(found.problems)  # still wrong, but that has been said


def test_a_mended_file_comes_into_force(path: Path) -> None:
    file = RuleFile(path)
    path.write_text("rules: [", encoding="utf-8")
    file.refresh()
    path.write_text(RULES.replace("20", "40"), encoding="utf-8")

    assert isinstance(file.refresh(), Reloaded)
    assert file.refresh() == Unchanged()


def test_going_back_to_the_rules_in_force_is_no_change(path: Path) -> None:
    file = RuleFile(path)
    path.write_text("rules: [", encoding="utf-8")
    file.refresh()
    path.write_text(RULES, encoding="utf-8")

    assert file.refresh() == Unchanged()


def test_a_file_that_vanishes_changes_nothing(path: Path) -> None:
    file = RuleFile(path)
    path.unlink()

    found = file.refresh()

    assert isinstance(found, Rejected)
    assert "no such file" in found.problems[0].message
    assert len(file.current) == 1
    path.write_text(RULES.replace("20", "50"), encoding="utf-8")
    assert isinstance(file.refresh(), Reloaded)


def test_names_are_checked_on_reload_too(path: Path) -> None:
    file = RuleFile(path, known_pipelines={"abdomen-ct"}, known_destinations={"pacs"})
    path.write_text(RULES.replace("[pacs]", "[archive]"), encoding="utf-8")

    assert isinstance(file.refresh(), Rejected)


def test_a_file_that_is_wrong_at_the_start_is_an_error(path: Path) -> None:
    path.write_text("rules: [", encoding="utf-8")

    with pytest.raises(RulesInvalid):
        RuleFile(path)
