"""`scanward train` and `cross-validate`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from training.commands.usage import Data, console, recipe_named, refuse, usage_errors
from training.data.items import SplitBy
from training.evaluate.figures import UnfitError
from training.experiment import System
from training.experiments import SYSTEMS
from training.recipes import RECIPES, Recipe

Name = Annotated[str, typer.Argument(help=f"One of: {', '.join((*RECIPES, *SYSTEMS))}.")]
Config = Annotated[
    Path | None, typer.Option("--config", exists=True, dir_okay=False, help="YAML that changes how it is trained.")
]


def train(  # noqa: PLR0917 - a command line's options are many by nature
    name: Name,
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run; runs/NAME by default.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Time budget instead of the recipe's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Stop after so many epochs.")] = None,
    phantoms: Annotated[
        int | None, typer.Option(min=0, help="Recipes: how many phantoms to mix in; 0 for none, 24 by default.")
    ] = None,
    initial: Annotated[
        Path | None, typer.Option(exists=True, help="A best.pt to start from; for systems also a package.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Take up an interrupted run.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")] = None,
    config: Config = None,
    split: Annotated[SplitBy | None, typer.Option(help="By slice, as published, if told so.")] = None,
    more: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Recipes: a further data set to mix in.")
    ] = None,
    variant: Annotated[
        int | None, typer.Option(min=0, help="Recipes: other first weights and draws, same split; see `export --run`.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read and vary images beside.")] = 0,
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs, or processes on a processor; all GPUs or one process by default.")
    ] = None,
) -> None:
    """Train a network; `best.pt` in the run's folder can be exported at any time meanwhile."""
    from training.loop.train import Limits, is_first, use_threads

    use_threads(threads)
    folder = out or Path("runs") / name
    limits = Limits(minutes, epochs, devices, resume, progress=sys.stderr.isatty())
    if name in SYSTEMS:
        from training.systems.fit import fit_system

        given = {"--phantoms": phantoms, "--more": more, "--variant": variant}
        refuse(given, f"only a recipe ({', '.join(RECIPES)}) has that, {name} has not")
        steps = {"--minutes": minutes, "--epochs": epochs, "--initial": initial, "--devices": devices}
        system = _system(name, config, split)
        _refuse_steps(system, {**steps, "--resume": resume, "--workers": workers})
        with usage_errors(UnfitError):
            fit_system(system, data, folder, limits, initial=initial, workers=workers)
    else:
        from training.train_recipe import train_recipe

        recipe = replace(_recipe(name, config), variant=variant or 0)
        if initial is not None and initial.is_dir():
            raise typer.BadParameter(f"{name} is a recipe: expected --initial best.pt, received the folder {initial}")
        options = {"initial": initial, "workers": workers}
        with usage_errors(UnfitError):
            train_recipe(recipe, data, folder, limits, phantoms=phantoms, more=more, split=split, **options)
    if is_first():
        console.print(f"export with: scanward export {name} --run {folder} --data {data}")


def cross_validate(  # noqa: PLR0917 - see train
    name: Name,
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the runs; runs/NAME-folds by default.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="How many parts.")] = 5,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Time budget of each fold.")] = None,
    initial: Annotated[Path | None, typer.Option(exists=True, help="A best.pt that every fold starts from.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")] = None,
    config: Config = None,
) -> None:
    """Train a published system once per fold, and measure every item by the network that was not trained on it."""
    from training.loop.folds import cross_validate as measure_folds
    from training.loop.train import Limits, use_threads

    if name not in SYSTEMS:
        raise typer.BadParameter(f"expected one of {', '.join(SYSTEMS)}, received {name!r}")
    use_threads(threads)
    folder = out or Path("runs") / f"{name}-folds"
    system = _system(name, config)
    _refuse_steps(system, {"--minutes": minutes, "--initial": initial})
    figures = measure_folds(system, data, folder, folds, Limits(minutes, devices=1), initial=initial)
    for figure in figures:
        console.print(str(figure), markup=False)


def _system(name: str, config: Path | None, split: SplitBy | None = None) -> System:
    from training.systems.commands import chosen

    with usage_errors(ValueError):
        return chosen(name, config, split)


def _recipe(name: str, config: Path | None) -> Recipe:
    recipe = recipe_named(name)
    with usage_errors(ValueError):
        return recipe if config is None else recipe.changed(config)


def _refuse_steps(system: System, options: Mapping[str, object]) -> None:
    if system.solve:
        refuse(options, f"{system.name} is solved for, not trained by steps")
