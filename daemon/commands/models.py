from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from daemon.commands.options import JsonOption, console
from daemon.config import load_config
from daemon.errors import WrongUsage
from daemon.render import plain_table
from daemon.service import engine_settings
from engines.benchmark import benchmark
from engines.choose import Verification, open_engine, verify
from engines.contract import EngineSettings
from pipelines.networks import packages_in
from pipelines.registry import PIPELINES

if TYPE_CHECKING:
    from engines.package import ModelPackage

app = typer.Typer(no_args_is_help=True, help="Model packages: what ships, what the hospital has added, who uses them.")

OptionalConfig = Annotated[
    Path | None,
    typer.Option("-c", "--config", help="Configuration with further model folders.", envvar="SCANWARD_CONFIG"),
]


PackageOption = Annotated[list[str] | None, typer.Option("--package", help="Only this package; repeat.")]


@app.command("list")
def list_models(config: OptionalConfig = None, as_json: JsonOption = False) -> None:
    """List the model packages with their measured accuracy and the pipelines that use them."""
    folders = load_config(config).models if config else ()
    packages = packages_in(folders)
    if as_json:
        console.print_json(json.dumps([_plain(package) for package in packages.values()]))
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
    """Run every engine there is on each package's reference inputs, and compare it with ONNX Runtime in FP32."""
    table = plain_table("Package", "Engine", "Precision", ">Dice", ">Largest difference", "State")
    served = True
    for one in _wanted(config, package):
        with console.status(f"Verifying {one.name} ..."):
            answers = verify(one, _settings(config))
        served &= any(not answer.problems for answer in answers)
        for answer in answers:
            table.add_row(one.name, answer.backend, answer.precision, *_agreement(answer))
    console.print(table)
    if not served:
        raise typer.Exit(1)


def _agreement(answer: Verification) -> tuple[str, str, Text]:
    agreement = answer.agreement
    least = min(agreement.dice.values(), default=None) if agreement else None
    state = Text("; ".join(answer.problems), style="yellow") if answer.problems else Text("may serve", style="green")
    return (
        "" if least is None else f"{least:.4f}",
        f"{agreement.max_difference:.4f}" if agreement else "",
        state,
    )


@app.command("build")
def build_models(config: OptionalConfig = None, package: PackageOption = None) -> None:
    """Compile the networks ahead of time into the configuration's data folder, so that no start has to."""
    settings = _settings(config)
    if settings.cache_dir is None:
        raise WrongUsage("without a configuration there is no data folder to keep plans in; give one with -c")
    for one in _wanted(config, package):
        with console.status(f"Building {one.name} ..."), open_engine(one, settings) as engine:
            console.print(f"{one.name}: {engine.description}")


@app.command("benchmark")
def benchmark_models(
    config: OptionalConfig = None,
    package: PackageOption = None,
    batch: Annotated[list[int] | None, typer.Option(help="Samples per call; repeat.")] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Timed calls of each engine.")] = 15,
) -> None:
    """Measure every engine that opens, in turns, on the package's reference inputs."""
    columns = (
        "Package",
        "Engine",
        "Precision",
        ">Batch",
        ">Median ms",
        ">p95 ms",
        ">Per second",
        ">MiB",
        ">Dice",
        "Problem",
    )
    table = plain_table(*columns)
    with console.status("Measuring ...") as status:
        found = benchmark(
            _wanted(config, package),
            _settings(config),
            batches=tuple(batch or (1, 16)),
            rounds=rounds,
            progress=lambda what, share: status.update(f"Measuring {what} ({share:.0%}) ..."),
        )
    for line in found:
        figures = (line.median_ms, line.p95_ms, line.per_second, line.memory_mib)
        shown = ["" if value is None else f"{value:.1f}" for value in figures]
        dice = "" if line.dice is None else f"{line.dice:.4f}"
        table.add_row(line.package, line.engine, line.precision, str(line.batch), *shown, dice, line.problem)
    console.print(table)


def _wanted(config: Path | None, names: list[str] | None) -> list[ModelPackage]:
    packages = packages_in(load_config(config).models if config else ())
    strangers = set(names or ()) - set(packages)
    if strangers:
        raise WrongUsage(f"there is no package {', '.join(sorted(strangers))}; there are: {', '.join(packages)}")
    return [package for name, package in packages.items() if not names or name in names]


def _settings(config: Path | None) -> EngineSettings:
    return engine_settings(load_config(config)) if config else EngineSettings()


def _users(name: str) -> str:
    return ", ".join(
        f"{p.name} ({slot})" for p in PIPELINES.values() for slot, model in p.models.items() if model == name
    )


def _plain(package: ModelPackage) -> dict[str, object]:
    manifest = package.manifest.model_dump(mode="json")
    return {"folder": str(package.folder), "used_by": _users(package.name), **manifest}
