"""Every shipped package on every engine, beside PyTorch eager and torch.compile: one run, one table, one picture.

    python -m benchmarks.engines [--package NAME ...] [--batch N ...] [--rounds N] [--no-compile] [--out FOLDER]

Run it from the project's folder and as a module: as a script it would be found in the place of the package `engines`.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog
from rich.console import Console
from rich.progress import Progress

from engines.benchmark import Contender, Run, benchmark
from engines.benchmark_report import markdown, picture, table
from engines.contract import Arrays, EngineSettings
from engines.machine import usable_cores
from engines.package import ModelPackage, find_packages, shipped_folder


@contextmanager
def torch_network(package: str, precision: str, threads: int, *, compiled: bool) -> Iterator[Run]:
    """The training network of a package with random weights (they do not change its speed), copies included."""
    import torch

    from training.export import Answer
    from training.fit import build
    from training.recipes import RECIPES

    recipe = next(recipe for recipe in RECIPES.values() if recipe.package == package)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(threads)
    network = Answer(build(recipe), 0 if recipe.task == "segmentation" else 1, recipe.mirror).eval().to(device)
    called: Callable[[torch.Tensor], torch.Tensor] = torch.compile(network) if compiled else network
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)

    def run(feeds: Arrays) -> Arrays:
        image = torch.from_numpy(feeds["image"]).to(device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device, dtype, enabled=dtype is not None):
            return {"logits": called(image).float().cpu().numpy()}

    with warnings.catch_warnings(action="ignore"):  # torch.compile is talkative
        yield run


def torch_contenders(package: ModelPackage, *, threads: int, compiled: bool) -> list[Contender]:
    """What PyTorch offers for a package that the training extra knows; nothing without torch."""
    try:
        import torch

        from training.recipes import RECIPES
    except ImportError:
        return []
    if package.name not in {recipe.package for recipe in RECIPES.values()}:
        return []
    half = "fp16" if torch.cuda.is_available() else "bf16"
    ways = [("torch eager", False), *([("torch.compile", True)] if compiled else [])]
    return [
        Contender(
            name,
            precision,
            partial(torch_network, package.name, precision, threads, compiled=compiles),
            comparable=False,
        )
        for name, compiles in ways
        for precision in ("fp32", half)
    ]


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
        found = benchmark(
            [packages[name] for name in options.package or packages],
            EngineSettings(threads=options.threads),
            batches=options.batch or (1, 16),
            rounds=options.rounds,
            seconds=options.seconds,
            memory=not options.no_memory,
            others=partial(torch_contenders, threads=options.threads, compiled=not options.no_compile),
            progress=lambda what, share: bar.update(task, description=what, completed=share),
        )
    console.print(table(found))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "engines.md").write_text(markdown(found))
        picture(found, options.out / "engines.png")
        console.print(f"written: {options.out / 'engines.md'}, {options.out / 'engines.png'}")


if __name__ == "__main__":
    main()
