"""What the command line prints: tables that a person can read. No patient names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipelines.job import NumericResult, Outcome

_UNITS = {"1": "", "mL": "ml"}

STATE_STYLES = {
    "done": "green",
    "accepted": "green",
    "running": "cyan",
    "delivering": "cyan",
    "sending": "cyan",
    "queued": "blue",
    "pending": "blue",
    "receiving": "blue",
    "failed": "bold red",
    "refused": "red",
    "unmatched": "yellow",
    "conflict": "yellow",
    "superseded": "dim",
    "cancelled": "dim",
}


def styled_state(state: str) -> Text:
    """A state in its colour."""
    return Text(state, style=STATE_STYLES.get(state, ""))


def plain_table(*columns: str, title: str | None = None) -> Table:
    """A table without a cage; a column whose name starts with `>` is set flush right."""
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for number, column in enumerate(columns):  # the first one names the row: it is never broken
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(column.lstrip(">"), justify=justify, overflow="fold", no_wrap=number == 0)
    return table


def findings_table(outcome: Outcome, *, title: str) -> RenderableType:
    """The findings of one study: answers, a row per organ and lesion, totals, notes, time per step."""
    rows = _by_thing(outcome.measurements)
    study = rows.pop("Study", {})
    parts: list[RenderableType] = [Text(outcome.headline, style="bold")] if outcome.headline else []
    if rows:
        parts.append(_regions_table(rows))
    else:
        parts.append(Text("No findings"))
    parts.append(_totals_table(study))
    parts.extend(Text(f"Note: {note}", style="yellow") for note in outcome.notes)
    parts.extend([Text(outcome.told_read)] if outcome.told_read else [])
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in outcome.seconds.items())
    parts.append(Text(f"Time: {steps}", style="dim"))
    parts.extend(Text(f"{name}: {engine}", style="dim") for name, engine in outcome.engines.items())
    return Panel(Group(*parts), title=title, title_align="left", subtitle="research use only, not for diagnosis")


def _by_thing(measurements: Iterable[NumericResult]) -> dict[str, dict[str, tuple[float, str]]]:
    rows: dict[str, dict[str, tuple[float, str]]] = {}
    for figure in measurements:
        rows.setdefault(figure.tracking_id, {})[figure.name] = (figure.value, figure.unit)
    return rows


def _regions_table(rows: Mapping[str, Mapping[str, tuple[float, str]]]) -> Table:
    table = plain_table(
        "Finding", ">Volume ml", ">Axial mm", ">Coronal mm", ">Sagittal mm", ">Centre (x, y, z) mm, LPS"
    )
    for name, figures in rows.items():
        diameters = [_number(figures.get(f"{plane} diameter")) for plane in ("Axial", "Coronal", "Sagittal")]
        centre = ", ".join(f"{figures[f'Centroid {axis}'][0]:.0f}" for axis in "XYZ")
        table.add_row(name, f"{figures['Volume'][0]:.2f}", *diameters, centre)
    return table


def _number(figure: tuple[float, str] | None) -> str:
    return "" if figure is None else f"{figure[0]:.1f}"


def _totals_table(study: Mapping[str, tuple[float, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, figure in study.items():
        number, _, unit = quantity(name, *figure).partition(" ")
        table.add_row(name, number, unit)
    return table


def quantity(name: str, value: float | None, unit: str) -> str:
    """A figure for people: what is counted is whole, what has no unit has none (UCUM writes it as 1)."""
    if value is None:
        return ""
    shown = f"{value:.0f}" if name.endswith("count") else f"{value:.2f}"
    return f"{shown} {_UNITS.get(unit, unit)}".rstrip()


def moment(at: datetime | None, *, exact: bool = False) -> str:
    """A moment in this machine's time zone, with its offset: `2026-11-20 13:00:00+01:00`."""
    return "" if at is None else at.astimezone().isoformat(" ", "milliseconds" if exact else "seconds")


def files_table(outcome: Outcome, out: Path) -> Table:
    """The files written: DICOM objects with their kind, and pictures."""
    table = plain_table("Written", "File")
    for kind, paths in _files_by_kind(outcome).items():
        shown = [str(Path(path).relative_to(out)) if Path(path).is_relative_to(out) else path for path in paths]
        table.add_row(kind, "\n".join(shown[:4] + ([f"... {len(shown)} in all"] if len(shown) > 4 else [])))
    return table


def _files_by_kind(outcome: Outcome) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for result in outcome.results:
        kinds.setdefault(result.kind, []).append(result.path)
    kinds["PNG"] = list(outcome.pictures)
    return kinds


def rows_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, state_column: str = "state") -> Table:
    """A table of plain rows; `columns` maps a row's key to its heading."""
    table = plain_table(*columns.values())
    for row in rows:
        cells = [styled_state(str(row[key])) if key == state_column else Text(_cell(row[key])) for key in columns]
        table.add_row(*cells)
    return table


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
