"""Every shipped package on every engine, beside PyTorch eager and torch.compile: one run, one table, one picture.

    python -m benchmarks.engines [--package NAME ...] [--batch N ...] [--rounds N] [--no-compile] [--out FOLDER]

Run it from the project's folder and as a module: as a script it would be found in the place of the package `engines`.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import structlog
from rich.console import Console
from rich.progress import Progress

from engines.benchmark.contender import Contender
from engines.benchmark.measuring import Interrupted
from engines.benchmark.report import markdown, picture, table
from engines.benchmark.run import benchmark
from engines.contract import EngineSettings
from engines.machine import usable_cores
from engines.packages.package import ModelPackage, find_packages, shipped_folder


def torch_contenders(package: ModelPackage, *, threads: int, compiled: bool) -> list[Contender]:
    """What PyTorch offers for a package that the training extra knows; nothing without torch."""
    try:
        import torch  # noqa: F401

        from training.contenders import contenders
    except ImportError:
        return []
    return contenders(package, threads=threads, compiled=compiled)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the table, writes engines.md and engines.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", action="append", help="only this one (may be repeated)")
    parser.add_argument("--batch", action="append", type=int, help="samples per call (may be repeated)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seconds", type=float, default=60, help="limit per package and batch")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out (it compiles for a minute)")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--out", type=Path, default=None, help="folder for engines.md and engines.png")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console(width=None if Console().is_terminal else 140)
    packages = find_packages(shipped_folder())
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("engines", total=1.0)
        try:
            found = benchmark(
                [packages[name] for name in options.package or packages],
                EngineSettings(threads=options.threads),
                batches=options.batch,
                rounds=options.rounds,
                seconds=options.seconds,
                memory=not options.no_memory,
                others=partial(torch_contenders, threads=options.threads, compiled=not options.no_compile),
                progress=lambda what, share: bar.update(task, description=what, completed=share),
            )
        except Interrupted as interruption:
            bar.stop()
            console.print(table(interruption.found))
            raise SystemExit("interrupted: this is what was measured until then") from None
    console.print(table(found))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "engines.md").write_text(markdown(found))
        picture(found, options.out / "engines.png")
        console.print(f"written: {options.out / 'engines.md'}, {options.out / 'engines.png'}")


if __name__ == "__main__":
    main()
