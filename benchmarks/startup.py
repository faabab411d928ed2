"""From the command to the first job: `scanward serve` as its user starts it, without stored plans and with them.

    python -m benchmarks.startup [--repeat N] [--models FOLDER] [--log]

`listening` is when a scanner may send, `ready` when the daemon says so, `workers` when the engines of every worker are
open, which is when the first job goes out; `warmed_up` is when each pipeline has been run once on a tiny phantom.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from daemon.demo import DemoFolder
from daemon.terminal.tables import plain_table
from engines.plain_yaml import read_yaml, write_yaml
from pipelines.registry import PIPELINES

TARGET = 10.0  # seconds from the start to ready for the first job, with stored plans
MARKS = {"listening": "listening", "ready": "ready", "workers_ready": "workers", "warmed_up": "warmed_up"}
"""Event in the daemon's log -> what it is called here; the last one of its kind counts."""


def configure(folder: Path, models: Sequence[Path]) -> DemoFolder:
    """The demo's configuration, with a log for machines; any number of folders of further packages."""
    demo_folder = DemoFolder(folder)
    demo_folder.write_configuration()
    settings = read_yaml(demo_folder.config.read_text())
    settings["logging"] = {"level": "info", "json_lines": True}
    settings["models"] = [str(path.resolve()) for path in models]
    demo_folder.config.write_text(write_yaml(settings))
    return demo_folder


def serve(config: Path) -> list[str]:
    """The command that starts the daemon."""
    return [sys.executable, "-m", "daemon.cli", "serve", "-c", str(config)]


def start(command: Sequence[str], limit: float, console: Console | None = None) -> dict[str, float]:
    """Starts the daemon, waits until every pipeline is warmed up, and stops it; seconds by mark.

    Raises:
        SystemExit: It ended by itself, or was not ready within `limit` seconds.
    """
    marks: dict[str, float] = {}
    missing = len(PIPELINES)
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(limit, process.kill)
        watchdog.start()
        for line in process.stderr or ():
            now = time.perf_counter() - began
            event = _event(line)
            if console is not None:
                console.print(f"{now:7.2f} {line.rstrip()}", markup=False, highlight=False, soft_wrap=True)
            if event in MARKS:
                marks[MARKS[event]] = now
            missing -= event in {"warmed_up", "warm_up_failed"}
            if missing <= 0 and "workers" in marks:
                break
        watchdog.cancel()
        process.send_signal(signal.SIGTERM)
        process.communicate()
    if missing > 0:
        raise SystemExit(f"the daemon did not come so far; it said {marks}")
    return marks


def _event(line: str) -> str:
    try:
        return str(json.loads(line).get("event"))
    except ValueError:
        return ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row for the first start and one for those after it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="starts with stored plans; medians are shown")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds after which a start is given up")
    parser.add_argument("--models", type=Path, action="append", default=[], help="folder of further packages")
    parser.add_argument("--log", action="store_true", help="show the daemon's log with the seconds")
    options = parser.parse_args(arguments)
    console = Console(width=None if Console().is_terminal else 100)
    with tempfile.TemporaryDirectory(prefix="scanward-start-") as folder:
        demo_folder = configure(Path(folder), options.models)
        runs = [
            start(serve(demo_folder.config), options.limit, console if options.log else None)
            for _ in range(options.repeat + 1)
        ]
    table = plain_table("Start", *(f">{name} s" for name in MARKS.values()), title="scanward serve, from its command")
    later = {name: statistics.median(run[name] for run in runs[1:]) for name in runs[0]}
    for title, run in (("first, nothing stored", runs[0]), (f"with stored plans (<= {TARGET:.0f} s)", later)):
        table.add_row(title, *(f"{run[name]:.2f}" for name in MARKS.values()))
    console.print(table)


if __name__ == "__main__":
    main()
