"""`scanward train` and `cross-validate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from training.commands.usage import Data, console, named, refuse, usage_errors
from training.data.items import SplitBy
from training.errors import UnfitError
from training.experiment import Experiment
from training.experiments import EXPERIMENTS

Name = Annotated[str, typer.Argument(help=f"One of: {', '.join(EXPERIMENTS)}.")]
Config = Annotated[
    Path | None, typer.Option("--config", exists=True, dir_okay=False, help="YAML that changes how it is trained.")
]


def train(  # noqa: PLR0917 - a command line's options are many by nature
    name: Name,
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run; runs/NAME by default.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Time budget instead of the experiment's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Stop after so many epochs.")] = None,
    phantoms: Annotated[
        int | None, typer.Option(min=0, help="Prepared slices: how many phantoms to mix in; 24 by default.")
    ] = None,
    initial: Annotated[
        Path | None, typer.Option(exists=True, help="A best.pt to start from; for published images also a package.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Take up an interrupted run.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")] = None,
    config: Config = None,
    split: Annotated[SplitBy | None, typer.Option(help="By slice, as published, if told so.")] = None,
    more: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Prepared slices: a data set to mix in.")
    ] = None,
    variant: Annotated[
        int | None, typer.Option(min=0, help="Other first weights and draws, same split; see `export --run`.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read and vary images beside.")] = 0,
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs, or processes on a processor; all GPUs or one process by default.")
    ] = None,
) -> None:
    """Train a network; `best.pt` in the run's folder can be exported at any time meanwhile."""
    from training.loop.fit import PHANTOMS, fit
    from training.loop.train import RunLimits, is_first, use_threads

    experiment = _chosen(name, config, split, variant)
    if not experiment.prepared:
        refuse(
            {"--phantoms": phantoms, "--more": more, "--variant": variant}, "only of prepared slices, as serving has"
        )
    elif initial is not None and initial.is_dir():
        raise typer.BadParameter(f"{name}: expected --initial best.pt, received the folder {initial}")
    steps = {"--minutes": minutes, "--epochs": epochs, "--initial": initial, "--devices": devices}
    _refuse_steps(experiment, {**steps, "--resume": resume, "--workers": workers})
    use_threads(threads)
    folder = out or Path("runs") / name
    limits = RunLimits(minutes, epochs, devices, resume, progress=sys.stderr.isatty())
    number = PHANTOMS if phantoms is None else phantoms
    with usage_errors(UnfitError):
        fit(experiment, data, folder, limits, phantoms=number, more=more, initial=initial, workers=workers)
    if not is_first():
        return
    if experiment.prepared and experiment.split == "slice":  # never exported, so it is measured at once
        from training.evaluate.measure import measure_runs

        figures = [asdict(figure) for figure in measure_runs([folder], data)]
        (folder / "figures.json").write_text(json.dumps(figures, indent=1))
    else:
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
    from training.loop.train import RunLimits, use_threads

    experiment = _chosen(name, config)
    if experiment.prepared:
        published = [one.name for one in EXPERIMENTS.values() if not one.prepared]
        raise typer.BadParameter(f"expected one of {', '.join(published)}, received {name!r}")
    use_threads(threads)
    folder = out or Path("runs") / f"{name}-folds"
    _refuse_steps(experiment, {"--minutes": minutes, "--initial": initial})
    figures = measure_folds(experiment, data, folder, folds, RunLimits(minutes, devices=1), initial=initial)
    for figure in figures:
        console.print(str(figure), markup=False)


def _chosen(name: str, config: Path | None, split: SplitBy | None = None, variant: int | None = None) -> Experiment:
    experiment = named(name)
    if config is not None:
        with usage_errors(ValueError):
            experiment = experiment.changed(config)
    if split is not None:
        experiment = replace(experiment, split=split)
        if experiment.prepared and split == "slice":  # neighbours of what is trained on choose nothing worth having
            experiment = replace(experiment, keep="last")
    return replace(experiment, variant=variant or 0)


def _refuse_steps(experiment: Experiment, options: Mapping[str, object]) -> None:
    if experiment.solve:
        refuse(options, f"{experiment.name} is solved for, not trained by steps")
