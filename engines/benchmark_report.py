"""A benchmark as a person reads it: a table on the screen, in Markdown, and as a picture."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from rich.table import Table

from engines.benchmark import Measurement
from engines.libraries import import_onnxruntime, import_openvino
from engines.machine import processor, usable_cores

COLUMNS = ("package", "engine", "precision", "batch", "median ms", "p95 ms", "per second", "ratio", "MiB", "parity")
REFERENCE = ("onnxruntime", "fp32")


def machine() -> str:
    """The machine and the libraries that a table was measured with, in one line."""
    versions = (
        f"OpenVINO {import_openvino().__version__.split('-')[0]}, ONNX Runtime {import_onnxruntime().__version__}"
    )
    return f"{processor()}, {usable_cores()} cores, Python {platform.python_version()}, {versions}"


def table(measurements: Sequence[Measurement]) -> Table:
    """For the terminal; `ratio` is the speed against ONNX Runtime FP32 on the same package and batch."""
    drawn = Table(title="Engines", caption=machine(), title_justify="left", caption_justify="left")
    for column in COLUMNS:
        drawn.add_column(column, justify="left" if column in COLUMNS[:3] else "right", overflow="fold")
    for _, group in _groups(measurements):
        for line in group:
            drawn.add_row(*_cells(line, measurements))
        drawn.add_section()
    return drawn


def markdown(measurements: Sequence[Measurement]) -> str:
    """The same for docs/performance.md."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(_cells(line, measurements) for line in measurements)]
    head = f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}.\n\n"
    return head + "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def picture(measurements: Sequence[Measurement], path: Path) -> None:
    """Samples per second as bars, one panel per package and batch.

    Raises:
        ImportError: matplotlib (extra `train`) is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = [
        (title, [line for line in group if line.per_second is not None]) for title, group in _groups(measurements)
    ]
    figure = Figure(figsize=(9, 0.6 + sum(0.7 + 0.32 * len(lines) for _, lines in groups)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=[len(lines) + 1 for _, lines in groups])
    for ((package, batch), lines), panel in zip(groups, panels[:, 0], strict=True):
        names = [f"{line.engine} {line.precision}" for line in lines]
        bars = panel.barh(names, [line.per_second or 0 for line in lines], color=[_colour(line) for line in lines])
        panel.bar_label(bars, fmt="%.1f", padding=3)
        panel.invert_yaxis()
        panel.set_title(f"{package}, batch {batch}: samples per second", loc="left", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(x=0.12)
    figure.suptitle(machine(), fontsize=8, x=0.01, ha="left")
    figure.savefig(path, dpi=120)


def _groups(measurements: Sequence[Measurement]) -> list[tuple[tuple[str, int], list[Measurement]]]:
    return [(key, list(lines)) for key, lines in groupby(measurements, key=lambda line: (line.package, line.batch))]


def _cells(line: Measurement, measurements: Sequence[Measurement]) -> tuple[str, ...]:
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
        f"{line.per_second:.1f}",
        f"{ratio:.2f}x" if ratio else "",
        f"{line.memory_mib:.0f}" if line.memory_mib is not None else "",
        _parity(line),
    )


def _parity(line: Measurement) -> str:
    if line.max_difference is None:
        return ""
    dice = f"Dice {line.dice:.4f}, " if line.dice is not None else ""
    return f"{dice}max {line.max_difference:.4f}"


def _same_work(one: Measurement, other: Measurement) -> bool:
    return (one.package, one.batch) == (other.package, other.batch)


def _colour(line: Measurement) -> str:
    ours = {"tensorrt": "#76b900", "openvino": "#0068b5", "onnxruntime": "#7f7f7f"}
    return ours.get(line.engine, "#d9a441")
