"""Shows on a terminal what the rules make of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipelines.rules.derived.phase import NO_WORDS

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.rules.explain import Explanation, RoleExplanation, RuleExplanation, SeriesSummary, SeriesVerdict
    from pipelines.rules.matching import ConditionCheck

_NO_NEWS = ("not MR", "neither CT nor MR", "a localizer", NO_WORDS)
MOST_SERIES = 12
"""Rows shown for a role; a study of hundreds of series would scroll away what matters."""
_DERIVED = ("plane", "sequence", "contrast", "phase", "localizer")


def render(explanation: Explanation, console: Console) -> None:
    """Prints an explanation: the series, every rule with its conditions, the outcome. Readable at 100 columns."""
    console.print(Text(f"Study {explanation.study_instance_uid}", style="bold"))
    console.print(_series_table(explanation.series))
    for series in explanation.series[:MOST_SERIES]:
        _print_reasons(series, console)
    labels = {series.series_instance_uid: _label(series) for series in explanation.series}
    for rule in explanation.rules:
        _print_rule(rule, labels, console)
    _print_outcome(explanation, console)


def _series_table(series: Sequence[SeriesSummary]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, title="Series, and what follows from their headers", title_justify="left")
    columns = [name for name in _DERIVED if any(one.derived[name] != "unknown" for one in series)]
    for name in ("No.", "Description", "", "Images", *columns):
        table.add_column(name, justify="right" if name in ("No.", "Images") else "left", overflow="fold")
    for one in series[:MOST_SERIES]:
        derived = [Text(one.derived[name], style="dim" if one.derived[name] == "unknown" else "") for name in columns]
        table.add_row(one.number, Text(one.description), one.modality, str(one.images), *derived)
    if len(series) > MOST_SERIES:
        table.add_row("", Text(f"... and {len(series) - MOST_SERIES} more series", style="dim"))
    return table


def _print_reasons(series: SeriesSummary, console: Console) -> None:
    """Why the derived attributes have their values; what follows from silence needs no words."""
    said = [
        f"{name} {series.derived[name]}: {series.because[name]}"
        for name in _DERIVED[1:]
        if series.derived[name] != "false" and series.because[name] not in _NO_NEWS
    ]
    if said:
        console.print(Padding(Text(f"{series.number or '-'}  {'; '.join(said)}", style="dim"), (0, 0, 0, 1)))


def _label(series: SeriesSummary) -> str:
    number = f"{series.number} " if series.number else ""
    return f"{number}{series.description if series.description != 'missing' else '(no description)'}"


def _print_rule(rule: RuleExplanation, labels: dict[str, str], console: Console) -> None:
    verdict = Text(" takes the study", style="bold green") if rule.takes else Text(" does not take it", style="yellow")
    head = Text(f"Rule {rule.rule}", style="bold") + Text(f" -> {rule.pipeline}") + verdict
    console.rule(head, align="left", style="dim")
    if rule.because:
        console.print(Padding(Text(rule.because, style="yellow"), (0, 0, 0, 2)))
    for check in rule.study:
        console.print(Padding(Text("study: ", style="bold") + _check(check), (0, 0, 0, 2)))
    for role in rule.roles:
        _print_role(role, labels, console)


def _print_role(role: RoleExplanation, labels: dict[str, str], console: Console) -> None:
    head = Text(f"{role.role}{' (optional)' if role.optional else ''}: ", style="bold")
    if role.taken_by:
        head += Text(labels[role.taken_by], style="green") + Text(f"  ({role.because})", style="dim")
    else:
        head += Text(role.because, style="dim" if role.optional else "yellow")
    console.print(Padding(head, (1, 0, 0, 2)))
    if role.series:
        console.print(Padding(_role_table(role, labels), (0, 0, 0, 4)))


def _role_table(role: RoleExplanation, labels: dict[str, str]) -> Table:
    """One row per series, one column per condition."""
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Series", overflow="fold", ratio=3)
    first = role.series[0].checks
    for check in first:
        table.add_column(Text(f"{check.key}\n{check.wanted}"), overflow="fold", ratio=2)
    for verdict in role.series[:MOST_SERIES]:
        table.add_row(_series_cell(verdict, role, labels), *_cells(verdict, [check.key for check in first]))
    if len(role.series) > MOST_SERIES:
        table.add_row(Text(f"... and {len(role.series) - MOST_SERIES} further ones", style="dim"))
    return table


def _series_cell(verdict: SeriesVerdict, role: RoleExplanation, labels: dict[str, str]) -> Text:
    label = labels[verdict.series_instance_uid]
    if verdict.series_instance_uid == role.taken_by:
        return Text(f"* {label}", style="bold green")
    if verdict.rank is not None:
        return Text(f"{verdict.rank} {label}", style="green")
    return Text(f"  {label}", style="dim")


def _cells(verdict: SeriesVerdict, keys: Sequence[str]) -> list[Text]:
    """The values in the order of the columns; what only this series was asked (is it an image at all) comes last."""
    by_key = {check.key: check for check in verdict.checks}
    cells = [_value(by_key[key]) for key in keys if key in by_key]
    extra = [check for check in verdict.checks if check.key not in keys and not check.passed]
    if extra and cells:
        cells[-1] += Text("\n") + Text("\n").join(_check(check) for check in extra)
    return cells


def _value(check: ConditionCheck) -> Text:
    return Text(f"{'✓' if check.passed else '✗'} {check.seen}", style="green" if check.passed else "red")


def _check(check: ConditionCheck) -> Text:
    return Text(f"{check.key} {check.wanted}: ") + _value(check)


def _print_outcome(explanation: Explanation, console: Console) -> None:
    console.rule(style="dim")
    if not explanation.rules:
        console.print(Text(explanation.because[0].capitalize(), style="bold yellow"))
    elif not explanation.jobs:
        console.print(Text("No rule takes this study.", style="bold yellow"))
    for job in explanation.jobs:
        shared = " share one job" if len(job.rules) > 1 else ""
        to = ", ".join(job.send_to) or "nowhere"
        said = f"{' and '.join(job.rules)}{shared} -> {job.pipeline}, {job.priority}, results to {to}"
        console.print(Text(said, style="bold green"))
