"""What a package was made of, and what it must not be measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.packages.package import ModelPackage
from training.data import dataset
from training.data.dataset import Unit
from training.errors import UnfitError
from training.experiment import Experiment
from training.experiments import EXPERIMENTS

ALIKE = ("task", "data", "channels", "classes", "inputs", "activation", "served_size", "split", "held_out", "seed")
"""What networks must have in common whose answers are averaged: they read, answer and held out the same."""


def threshold_of(package: ModelPackage) -> float:
    """The threshold that the package serves with."""
    thresholds = package.manifest.thresholds
    return thresholds.mask if package.manifest.task == "segmentation" else thresholds.probability


def check_alike(experiments: Sequence[Experiment]) -> None:
    """Whether the networks of several experiments may answer together.

    Raises:
        UnfitError: They differ in what they read, answer or held out.
    """
    first = experiments[0]
    for other in experiments[1:]:
        for name in ALIKE:
            mine, its = getattr(first, name), getattr(other, name)
            if mine != its:
                raise UnfitError(reason=f"{first.name} and {other.name} differ in {name}: {mine} and {its}")


def experiments_of(package: ModelPackage) -> list[Experiment]:
    """The experiments whose networks a package holds, one for each network.

    Packages made before there was one kind of experiment say `system`, or a name alone.

    Raises:
        UnfitError: Nobody here knows what it was made of.
    """
    record = package.manifest.training.model_extra or {}
    return [one for part in record.get("mean_of", [record]) for one in _of_part(package.name, part)]


def _of_part(name: str, record: dict[str, Any]) -> list[Experiment]:
    first = record.get("experiment", record.get("system"))
    if first is not None:
        return [Experiment.of(one) for one in (first, *record.get("others", ()))]
    made_by = record.get("recipe")
    if made_by not in EXPERIMENTS:
        raise UnfitError(reason=f"{name} was made by {made_by!r}; expected one of {', '.join(EXPERIMENTS)}")
    return [EXPERIMENTS[made_by]] * record.get("networks", 1)


def unseen_names(package: ModelPackage) -> set[str]:
    """Names of the patients, scans or slices that a package held out."""
    return set((package.manifest.training.split or {}).get("held_out", ()))


def unseen(package: ModelPackage, experiment: Experiment, data: Path, *, everyone: bool = False) -> list[Unit]:
    """What of a data set the package held out, or all of it.

    Of slices that were left out because they show no tumour nothing was trained on, but they are not measured either.

    Raises:
        FileNotFoundError: Nothing of it is there.
    """
    held_out = unseen_names(package)
    units = [unit for unit in dataset.read(experiment, data) if everyone or {unit.name, unit.group} & held_out]
    if not units:
        raise FileNotFoundError(f"nothing that {package.name} held out is in {data}")
    return units
