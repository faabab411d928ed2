"""What the commands cost that somebody types again and again: processor seconds and memory, beside small programs.

    python -m benchmarks.cli [--repeat N]

Processor seconds are user and system together, the least of the runs: what else the machine does only adds to them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from daemon.terminal.tables import plain_table
from db.database import Database

TARGET = {"jobs list": (0.6, 90.0)}
"""Command -> processor seconds and MB that it may take."""
_LAUNCHER = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""
"""Small, because a process that is started counts the memory of the one that started it as its own."""


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    name: str
    seconds: float
    megabytes: float


def measure(name: str, command: Sequence[str], repeat: int) -> Cost:
    """Runs a command several times, each in a new process."""
    found = [_run(command) for _ in range(repeat)]
    return Cost(name, min(seconds for seconds, _ in found), max(megabytes for _, megabytes in found))


def _run(command: Sequence[str]) -> tuple[float, float]:
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command], capture_output=True, text=True, check=True
    )
    seconds, megabytes = json.loads(run.stdout)
    return seconds, megabytes


def commands(config: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and command line of each of ours; the database is empty."""
    scanward = [sys.executable, "-m", "daemon.cli"]
    for name in ("--version", "--help", "jobs --help", "rules schema"):
        yield name, [*scanward, *name.split()]
    for name in ("jobs list", "jobs show 1", "status", "db current", "rules explain 1.2.3"):
        yield name, [*scanward, *name.split(), "-c", str(config)]


def peers() -> Iterator[tuple[str, list[str]]]:
    """Those that are installed."""
    yield "python -c pass", [sys.executable, "-c", "pass"]
    yield "python, sqlalchemy.orm", [sys.executable, "-c", "import sqlalchemy.orm"]
    for program in ("Orthanc", "dcmdump"):
        if (found := shutil.which(program)) is not None:
            yield f"{program} --version", [found, "--version"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table, each command as so many times the smallest Python program and, where there is one, Orthanc."""
    parser = argparse.ArgumentParser(prog="benchmarks.cli")
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args(arguments).repeat
    with tempfile.TemporaryDirectory(prefix="scanward-") as folder:
        ours = [measure(f"scanward {name}", command, repeat) for name, command in commands(_configured(Path(folder)))]
    _print(ours, [measure(name, command, repeat) for name, command in peers()])


def _configured(folder: Path) -> Path:
    rules = Path(__file__).resolve().parents[1] / "deploy" / "rules.yaml"
    config = folder / "scanward.yaml"
    config.write_text(
        f"data_dir: {folder / 'data'}\nrules: {rules}\ndestinations: {{pacs: {{ae_title: PACS, host: 127.0.0.1}}}}\n"
    )
    database = Database(f"sqlite:///{folder / 'data' / 'scanward.sqlite'}")
    database.upgrade()
    database.close()
    return config


def _print(ours: Sequence[Cost], others: Sequence[Cost]) -> None:
    table = plain_table("Command", ">CPU s", ">MB", ">/ pass", ">/ Orthanc", ">Target", title="Start-up")
    smallest, orthanc = (next((one for one in others if word in one.name), None) for word in ("pass", "Orthanc"))
    for cost in (*ours, *others):
        ratios = ["" if one is None else f"{cost.seconds / max(one.seconds, 1e-3):.1f}" for one in (smallest, orthanc)]
        seconds, megabytes = TARGET.get(cost.name.removeprefix("scanward "), (0.0, 0.0))
        target = f"{seconds:g} s, {megabytes:g} MB" if seconds else ""
        table.add_row(cost.name, f"{cost.seconds:.3f}", f"{cost.megabytes:.0f}", *ratios, target)
    Console().print(table)


if __name__ == "__main__":
    main()
