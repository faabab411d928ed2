"""A benchmark as a person reads it: a table on the screen, in Markdown, and as a picture."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engines.benchmark.measuring import BenchmarkRow
from engines.libraries import import_onnxruntime, import_openvino
from engines.machine import processor, usable_cores

COLUMNS = ("package", "engine", "precision", "batch", "median ms", "p95 ms", "per second", "ratio", "MiB", "parity")
SHOWN = ("package, samples a call", "median ms", "p95 ms", "per s", "ratio", "MiB", "Dice", "max diff.")
REFERENCE = ("onnxruntime", "fp32")


def machine() -> str:
    """The machine and the libraries that a table was measured with, in one line."""
    versions = (
        f"OpenVINO {import_openvino().__version__.split('-')[0]}, ONNX Runtime {import_onnxruntime().__version__}"
    )
    return f"{processor()}, {usable_cores()} cores, Python {platform.python_version()}, {versions}"


def table(measurements: Sequence[BenchmarkRow]) -> RenderableType:
    """For a terminal of 80 columns; `ratio` is the speed against ONNX Runtime FP32 on the same package and batch."""
    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in SHOWN:
        first = column == SHOWN[0]
        drawn.add_column(column, justify="left" if first else "right", no_wrap=first)
    absent: dict[str, None] = {}
    for (package, batch), group in _groups(measurements):
        drawn.add_row(Text(f"{package}, {batch}", style="bold"))
        for line in group:
            if line.median_ms is None:
                name = f"{line.engine} {line.precision}".rstrip()
                absent[f"{name}: {line.problem or 'not measured'}"] = None
            else:
                _, engine, precision, _, *figures, _ = _cells(line, measurements)
                drawn.add_row(f"  {engine} {precision}", *figures, *_parity(line))
        drawn.add_section()
    return Group(drawn, *(Text(reason, style="yellow") for reason in absent), Text(machine(), style="dim"))


def markdown(measurements: Sequence[BenchmarkRow]) -> str:
    """The same for docs/lab/engine-speed.md."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(_cells(line, measurements) for line in measurements)]
    head = f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}.\n\n"
    return head + "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def picture(measurements: Sequence[BenchmarkRow], path: Path) -> None:
    """Samples per second as bars, one panel per package and batch.

    Raises:
        ImportError: matplotlib (extra `train`) is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = _groups([line for line in measurements if line.per_second is not None])
    figure = Figure(figsize=(9, 0.6 + sum(0.7 + 0.32 * len(lines) for _, lines in groups)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[len(lines) + 1 for _, lines in groups])
    for ((package, batch), lines), panel in zip(groups, panels[:, 0], strict=True):
        names = [f"{line.engine} {line.precision}" for line in lines]
        bars = panel.barh(names, [line.per_second or 0 for line in lines], color=[_colour(line) for line in lines])
        panel.bar_label(bars, fmt="%.3g", padding=3)
        panel.invert_yaxis()
        panel.set_title(f"{package}, batch {batch}: {lines[0].unit} per second", loc="left", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(x=0.12)
    figure.suptitle(machine(), fontsize=8, x=0.01, ha="left")
    figure.savefig(path, dpi=120)


def _groups(measurements: Sequence[BenchmarkRow]) -> list[tuple[tuple[str, int], list[BenchmarkRow]]]:
    return [(key, list(lines)) for key, lines in groupby(measurements, key=lambda line: (line.package, line.batch))]


def _cells(line: BenchmarkRow, measurements: Sequence[BenchmarkRow]) -> tuple[str, ...]:
    names = (line.package, line.engine, line.precision, str(line.batch))
    if line.median_ms is None or line.per_second is None:
        return (*names, "", "", "", "", "", line.problem or "not measured")
    reference = next(
        (one for one in measurements if (one.engine, one.precision) == REFERENCE and _same_work(one, line)), None
    )
    ratio = reference.median_ms / line.median_ms if reference and reference.median_ms else None
    return (
        *names,
        f"{line.median_ms:.1f}",
        f"{line.p95_ms:.1f}",
        f"{line.per_second:.1f}" if line.per_second >= 10 else f"{line.per_second:.2f}",
        f"{ratio:.2f}x" if ratio else "",
        f"{line.memory_mib:.0f}" if line.memory_mib is not None else "",
        ", ".join(f"{name} {figure}" for name, figure in zip(("Dice", "max"), _parity(line), strict=True) if figure),
    )


def _parity(line: BenchmarkRow) -> tuple[str, str]:
    """Least Dice and largest difference of a probability, as text; empty where there is none."""
    return (
        "" if line.dice is None else f"{line.dice:.4f}",
        "" if line.max_difference is None else f"{line.max_difference:.4f}",
    )


def _same_work(one: BenchmarkRow, other: BenchmarkRow) -> bool:
    return (one.package, one.batch) == (other.package, other.batch)


def _colour(line: BenchmarkRow) -> str:
    ours = {"tensorrt": "#76b900", "openvino": "#0068b5", "onnxruntime": "#7f7f7f"}
    return ours.get(line.engine, "#d9a441")
