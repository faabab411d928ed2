"""`scanward train|evaluate|export`: mounted by the daemon's command line where the `train` extra is installed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engines.package import load_package, shipped_folder
from training.card import figure_rows
from training.classic import SYSTEMS
from training.data.items import SplitBy
from training.evaluate import Figure
from training.recipes import RECIPES, Recipe

app = typer.Typer(no_args_is_help=True, help="Train the networks, measure them, and make model packages of them.")
console = Console()

Name = Annotated[str, typer.Argument(help=f"One of: {', '.join((*RECIPES, *SYSTEMS))}.")]
Data = Annotated[Path, typer.Option("--data", exists=True, file_okay=False, help="The data set, as published.")]


def recipe_named(name: str) -> Recipe:
    """The recipe, or a usage error that lists what there is."""
    if name not in RECIPES:
        raise typer.BadParameter(f"expected one of {', '.join((*RECIPES, *SYSTEMS))}, received {name!r}")
    return RECIPES[name]


@app.command()
def train(  # noqa: PLR0917 - a command line's options are many by nature
    name: Name,
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run; runs/NAME by default.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Time budget instead of the recipe's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Stop after so many epochs.")] = None,
    phantoms: Annotated[int, typer.Option(min=0, help="How many phantoms to mix in; 0 for none.")] = 24,
    initial: Annotated[Path | None, typer.Option(exists=True, help="A best.pt to start from.")] = None,
    resume: Annotated[bool, typer.Option(help="Take up an interrupted run.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")] = None,
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="YAML that changes a published system.")
    ] = None,
    split: Annotated[
        SplitBy | None, typer.Option(help="Published systems: by slice, as published, if told so.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Published systems: processes that read images.")] = 0,
) -> None:
    """Train a network; `best.pt` in the run's folder can be exported at any time meanwhile."""
    if name in SYSTEMS:
        from training.systems.commands import chosen, train_system

        run_folder = out or Path("runs") / name
        limits = {"minutes": minutes, "epochs": epochs, "initial": initial, "resume": resume, "workers": workers}
        try:
            system = chosen(name, config, split)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        train_system(system, data, run_folder, threads, limits)
        console.print(f"export with: scanward export {name} --run {run_folder} --data {data}")
        return
    from training.data.case import gather
    from training.data.phantoms import phantom_cases
    from training.fit import fit, use_threads

    recipe = recipe_named(name)
    use_threads(threads)
    cases = recipe.loader(data)
    mixed = gather(phantom_cases(recipe.preprocessing, phantoms, recipe.seed)) if phantoms else None
    folder = out or Path("runs") / name
    run = fit(
        recipe,
        cases,
        folder,
        phantoms=mixed,
        minutes=minutes,
        initial=initial,
        resume=resume,
        epochs=epochs,
    )
    console.print(f"best score {run.best:.3f}; export with: scanward export {name} --run {folder} --data {data}")


@app.command()
def export(
    name: Name,
    data: Data,
    run: Annotated[Path, typer.Option("--run", exists=True, file_okay=False, help="The run's folder.")],
    out: Annotated[Path | None, typer.Option(help="Folder of packages; the shipped one by default.")] = None,
    version: Annotated[str, typer.Option(help="Version of the package.")] = "0.1.0",
) -> None:
    """Make a model package of a run's best checkpoint, with figures measured on the held-out patients."""
    if name in SYSTEMS:
        from training.systems.commands import export_run

        made = export_run(run, data, out or Path("runs") / "packages", version)
        console.print(f"{made.folder}\n{made.card}")
        return
    from training.export import export as write_package

    recipe = recipe_named(name)
    package = write_package(recipe, run, recipe.loader(data), out or shipped_folder(), version)
    console.print(f"{package.folder}\n{package.card}")


@app.command()
def evaluate(
    package: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A model package.")],
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.")] = None,
    everyone: Annotated[
        bool, typer.Option("--everyone", help="All patients in DATA, not only those that the package held out.")
    ] = False,
) -> None:
    """Measure a package with the engine that serves, on patients that it was not trained on."""
    from training.measure import measure

    loaded = load_package(package)
    record = loaded.manifest.training.model_extra or {}
    if record.get("recipe") in SYSTEMS:
        from training.systems.commands import evaluate_package

        looked_at, figures = evaluate_package(loaded, data, everyone=everyone)
        _report(loaded.name, looked_at, figures, out)
        return
    recipe = recipe_named(str(record.get("recipe")))
    held_out = set((loaded.manifest.training.split or {}).get("held_out", ()))
    cases = [case for case in recipe.loader(data) if everyone or case.name in held_out]
    if not cases:
        raise typer.BadParameter(f"none of the {len(held_out)} held-out patients is in {data}")
    thresholds = loaded.manifest.thresholds
    fixed = thresholds.mask if loaded.manifest.task == "segmentation" else thresholds.probability
    _, figures = measure(recipe, loaded, cases, fixed)
    _report(loaded.name, len(cases), figures, out)


def _report(name: str, looked_at: int, figures: list[Figure], out: Path | None) -> None:
    _print(name, looked_at, figures)
    if out is not None:
        out.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))


def _print(name: str, patients: int, figures: list[Figure]) -> None:
    table = Table("Figure", "Value", "95 % interval", "n", title=f"{name}, {patients} patients")
    for row in figure_rows(figures):
        table.add_row(*row)
    console.print(table)
