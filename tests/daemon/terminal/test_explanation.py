from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from daemon.terminal.explanation import MOST_SERIES, render
from pipelines.rules.explain import explain
from pipelines.rules.file import parse_rules
from pipelines.rules.model import RuleSet
from pipelines.rules.study.attributes import StudyAttributes
from tests.pipelines.rules.rule_files import DESIGN, rules
from tests.pipelines.rules.studies import brain, mr, study


def shown(whole: StudyAttributes, ruleset: RuleSet, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    render(explain(whole, ruleset), console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_it_says_which_rule_took_the_study_and_with_which_series() -> None:
    said = shown(brain(), parse_rules(DESIGN))

    assert "Rule glioma -> brain-mr takes the study" in said
    assert "flair: 2 AX FLAIR" in said
    assert "Rule liver -> abdomen-ct does not take it" in said
    assert "rule liver: role ct: no series with Modality CT; saw 'MR'" in said
    assert "glioma -> brain-mr, routine, results to pacs" in said


def test_it_shows_every_condition_with_the_value_seen() -> None:
    said = shown(brain(), parse_rules(DESIGN))

    assert "matching" in said
    assert "✗ AX T2" in said
    assert "✓ axial" in said
    assert "* 2 AX FLAIR" in said
    assert "inversion at 2500 ms nulls fluid" in said


def test_it_fits_a_terminal_of_100_columns() -> None:
    assert max(map(len, shown(brain(), parse_rules(DESIGN)).splitlines())) <= 100


def test_it_shows_no_patients_name() -> None:
    said = shown(brain(), rules("r: {PatientID: {in: [Doe, '19600102']}, sequence: flair}"))

    assert "(hidden)" in said
    for secret in ("Doe", "Jane", "19600102"):
        assert secret not in said


def test_a_study_that_no_rule_takes_says_so() -> None:
    assert "No rule takes this study." in shown(study(mr(1, "t1")), parse_rules(DESIGN))


def test_a_file_without_rules_says_so() -> None:
    said = shown(brain(), parse_rules("rules: []"))

    assert "There are no rules, so no study is read" in said
    assert "No rule takes" not in said


def test_rules_that_share_a_job_are_shown_as_one() -> None:
    one = "{name: %s, pipeline: p, series: {r: {sequence: t1}}, priority: %s, send_to: [%s]}"
    said = shown(study(mr(1, "t1")), parse_rules(f"rules: [{one % ('a', 'low', 'x')}, {one % ('b', 'stat', 'y')}]"))

    assert "a and b share one job -> p, stat, results to x, y" in said
    assert said.count("results to") == 1


def test_hundreds_of_series_do_not_scroll_away_what_matters() -> None:
    said = shown(study(*(mr(number, "t2") for number in range(300))), rules("r: {sequence: t1}"))

    assert f"... and {300 - MOST_SERIES} more series" in said
    assert len(said.splitlines()) < 100


def test_markup_and_control_characters_in_tags_are_harmless() -> None:
    evil = replace(mr(1, "t1"), tags={**mr(1, "t1").tags, "SeriesDescription": "[red]T1[/nothing]\x1b[2J\n[link=x]"})
    said = shown(study(evil), rules("r: {sequence: t2}"))

    assert "[red]T1[/nothing]" in said
    assert "\x1b" not in said
