"""List, verify, build and benchmark model packages."""

from __future__ import annotations

import importlib.util
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from daemon.commands.options import JsonOption, console
from daemon.config import load_config
from daemon.errors import WrongUsage
from daemon.logs import set_up_logs
from daemon.settings import engine_settings
from daemon.terminal.tables import plain_table
from engines.benchmark import report as benchmark_report
from engines.benchmark.contender import Contender
from engines.benchmark.measuring import BenchmarkRow, Interrupted
from engines.benchmark.run import benchmark
from engines.choose import Verification, open_engine, verify
from engines.contract import EngineSettings
from engines.machine import usable_cores
from pipelines.packages import packages_in
from pipelines.registry import PIPELINES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.gate import Agreement
    from engines.packages.package import ModelPackage

app = typer.Typer(no_args_is_help=True, help=__doc__)

OptionalConfig = Annotated[
    Path | None,
    typer.Option("-c", "--config", help="Configuration with further model folders.", envvar="SCANWARD_CONFIG"),
]


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""

PackageOption = Annotated[list[str] | None, typer.Option("--package", help="Only this package; repeat.")]


@app.command("list")
def list_models(config: OptionalConfig = None, as_json: JsonOption = False) -> None:
    """List the model packages with their measured accuracy and the pipelines that use them."""
    folders = load_config(config).models if config else ()
    packages = packages_in(folders)
    if as_json:
        console.print_as_json([_plain(package) for package in packages.values()])
        return
    table = plain_table("Package", "Version", ">MB", "Used by", "First measured figure")
    for package in packages.values():
        manifest = package.manifest
        size = (package.folder / "model.onnx").stat().st_size / 1e6
        measured = next((f"{a.metric}: {a.value:.3f}, n={a.n}" for a in manifest.accuracy), "none")
        table.add_row(package.name, manifest.version, f"{size:.1f}", _users(package.name), measured)
    console.print(table)
    console.print(
        "Research use only. All figures, data and licences: MODEL_CARD.md in a package's folder, or --json.",
        style="dim",
    )


@app.command("verify")
def verify_models(config: OptionalConfig = None, package: PackageOption = None) -> None:
    """Run every engine on each package's reference inputs: how close to FP32, how fast, and which one serves."""
    table = plain_table("Package", "Engine", ">Dice", ">Difference", ">ms", "State")
    silent: dict[str, list[str]] = {}  # by the reason why they do not answer: engines, each once
    served = True
    for one in _wanted(config, package):
        with console.status(Text(f"Verifying {one.name} ...")):
            answers = verify(one, _settings(config))
        served &= any(not answer.problems for answer in answers)
        for answer in answers:
            engine = f"{answer.backend} {answer.precision}"
            if answer.agreement is not None:
                table.add_row(one.name, engine, *_agreement(answer, answer.agreement))
            elif engine not in (engines := silent.setdefault("; ".join(answer.problems), [])):
                engines.append(engine)
    console.print(table)
    for reason, engines in silent.items():
        console.print(Text(f"{', '.join(engines)}: {reason}", style="yellow"))
    if not served:
        raise typer.Exit(1)


def _agreement(answer: Verification, found: Agreement) -> tuple[str, str, str, Text]:
    dice = "" if found.least_dice is None else f"{found.least_dice:.4f}"
    taken = "" if answer.milliseconds is None else f"{answer.milliseconds:.1f}"
    return dice, f"{found.max_difference:.4f}", taken, _state(answer)


def _state(answer: Verification) -> Text:
    if answer.problems:
        return Text("; ".join(answer.problems), style="yellow")
    return Text("serves", style="bold green") if answer.chosen else Text("may serve", style="green")


@app.command("build")
def build_models(
    config: OptionalConfig = None,
    package: PackageOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the builder's own log too.")] = False,
) -> None:
    """Compile the networks ahead of time into the data folder, so that no start has to."""
    settings = _settings(config)
    if settings.cache_dir is None:
        raise WrongUsage(reason="plans are kept in the data folder of a configuration; give one with -c")
    set_up_logs("info" if verbose else "warning")
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        for one in _wanted(config, package):
            task = bar.add_task(one.name, total=1.0)
            with open_engine(one, settings, partial(_show, bar, task, one.name)) as engine:
                bar.remove_task(task)
                console.print(f"{one.name}: {engine.description}")
                for reason in engine.description.passed_over:
                    console.print(f"  passed over: {reason}", style="dim")


def _show(bar: Progress, task: TaskID, name: str, phase: str, share: float) -> None:
    bar.update(task, description=f"{name}: {phase}", completed=share)


@app.command("benchmark")
def benchmark_models(
    config: OptionalConfig = None,
    package: PackageOption = None,
    batch: Annotated[
        list[int] | None, typer.Option(help="Samples per call; repeat. By default 1 and 16 slices, or 1 volume.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Timed calls of each engine.")] = 15,
    seconds: Annotated[float, typer.Option(min=1, help="Limit per package and batch.")] = 60.0,
    memory: Annotated[bool, typer.Option(help="Also measure memory, each engine in a process of its own.")] = True,
    torch: Annotated[bool, typer.Option(help="Beside PyTorch eager and torch.compile, if it is installed.")] = True,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="torch.compile takes a minute.")] = True,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for engines.md and engines.png.")] = None,
) -> None:
    """Measure the speed of every engine on each package's reference inputs: a table and a picture."""
    settings = _settings(config)
    threads = settings.threads or usable_cores()
    found: Sequence[BenchmarkRow]
    interrupted = False
    with Progress(TextColumn("{task.description}", markup=False), BarColumn(), console=console, transient=True) as bar:
        task = bar.add_task("Measuring", total=1.0)
        try:
            found = benchmark(
                _wanted(config, package),
                settings.model_copy(update={"threads": threads}),
                batches=batch,
                rounds=rounds,
                seconds=seconds,
                memory=memory,
                others=partial(_contenders, threads=threads, compiled=compiled) if torch else lambda package: (),
                progress=partial(_show, bar, task, "Measuring"),
            )
        except Interrupted as interruption:
            found, interrupted = interruption.found, True
    console.print(benchmark_report.table(found))
    if interrupted:
        console.print("Interrupted: this is what was measured until then.", style="yellow")
        raise typer.Exit(INTERRUPTED)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "engines.md").write_text(benchmark_report.markdown(found))
        benchmark_report.picture(found, out / "engines.png")
        console.print(f"written: {out / 'engines.md'}, {out / 'engines.png'}")


def _contenders(package: ModelPackage, *, threads: int, compiled: bool) -> list[Contender]:
    """What the training extra has to run a package with; nothing where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return []
    loads = [plugin.load() for plugin in entry_points(group="scanward.contenders")]
    return [contender for load in loads for contender in load(package, threads=threads, compiled=compiled)]


def _wanted(config: Path | None, names: list[str] | None) -> list[ModelPackage]:
    packages = packages_in(load_config(config).models if config else ())
    unknown = set(names or ()) - set(packages)
    if unknown:
        raise WrongUsage(reason=f"unknown package {', '.join(sorted(unknown))}; available: {', '.join(packages)}")
    return [package for name, package in packages.items() if not names or name in names]


def _settings(config: Path | None) -> EngineSettings:
    return engine_settings(load_config(config)) if config else EngineSettings()


def _users(name: str) -> str:
    return ", ".join(
        f"{p.name} ({slot})" for p in PIPELINES.values() for slot, model in p.all_models.items() if model == name
    )


def _plain(package: ModelPackage) -> dict[str, object]:
    manifest = package.manifest.model_dump(mode="json")
    return {"folder": str(package.folder), "used_by": _users(package.name), **manifest}
