"""The data set of an experiment: read from its folder, and split into training, validation and test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.case import split_by_slice
from training.data.items import fold_items, split_items
from training.experiment import Experiment

Unit = Any
"""A `Case` where the experiment is on prepared slices, else an `Item`: name, group, stratum."""


@dataclass(frozen=True)
class Parts:
    """A data set, split.

    Attributes:
        training: To learn from.
        validation: Chooses the checkpoint and the threshold, where the experiment lets it.
        test: Chooses nothing; empty where the experiment keeps none.
    """

    training: list[Unit]
    validation: list[Unit]
    test: list[Unit]

    @property
    def measured(self) -> list[Unit]:
        """What figures are of."""
        return self.test or self.validation


def read(experiment: Experiment, root: Path) -> list[Unit]:
    """Everything in the data folder; published images are read when they are wanted.

    Raises:
        FileNotFoundError: The folder is not laid out as the experiment expects.
    """
    units = _all(experiment, root)
    return [unit for unit in units if unit.positive] if experiment.only_positive else units


def _all(experiment: Experiment, root: Path) -> list[Unit]:
    from training.data.layouts import brains, brats, lgg, liver, mr_slices, yesno

    if experiment.prepared:
        return lgg.load_lgg(root) if experiment.data == "lgg" else liver.load_liver(root)
    plane = (experiment.size[-2], experiment.size[-1])
    readers: dict[str, Callable[[], list[Unit]]] = {
        "yesno": lambda: yesno.load_yesno(root, plane, experiment.duplicated, experiment.view),
        "mr-slices": lambda: mr_slices.load_mr_slices(root, plane),
        "lgg": lambda: lgg.load_lgg_slices(root, plane),
        "brats": lambda: brats.load_brats(root, experiment.classes),
        "brains": lambda: brains.load_brains(root, experiment.classes),
        "lits": lambda: liver.load_lits(root, plane),
    }
    return readers[experiment.data]()


def split(experiment: Experiment, units: Sequence[Unit]) -> Parts:
    """The published split where the data has one, else by patient or slice.

    Raises:
        ValueError: There is nothing to train on, or nothing to choose a checkpoint by.
    """
    share, seed, by = experiment.held_out + experiment.test, experiment.seed, experiment.split
    if experiment.prepared and by == "slice":
        return Parts(*split_by_slice(units, share, seed), [])
    if {unit.stratum for unit in units} == {"train", "val"}:
        training, validation = ([unit for unit in units if unit.stratum == part] for part in ("train", "val"))
        return Parts(training, validation, [])
    if experiment.folds:
        return Parts(*fold_items(units, experiment.fold, experiment.folds, seed, by), [])
    rest, held_out = split_items(units, share, seed, by, every_stratum=experiment.prepared)
    if not rest or not held_out:
        owners = len({unit.group for unit in units})
        raise ValueError(f"a share of {share:g} of {owners} patients holds nothing out, or everything")
    if not experiment.test:
        return Parts(rest, held_out, [])
    return Parts(rest, *split_items(held_out, experiment.test / share, seed, by))


def names(experiment: Experiment, units: Sequence[Unit]) -> list[str]:
    """Of the patients, or slices, by which the experiment is split."""
    by_patient = experiment.split == "patient"
    return sorted({unit.group if by_patient else unit.name for unit in units})
