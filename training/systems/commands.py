"""What `scanward train|export|evaluate` do when the name is a published system's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engines.contract import EngineSettings
from engines.package import ModelPackage
from training.data.items import Item, SplitBy
from training.evaluate.figures import Figure, UnfitError
from training.experiment import System
from training.experiments import SYSTEMS
from training.loop.record import read_record


def chosen(name: str, config: Path | None = None, split: SplitBy | None = None) -> System:
    """The system `name` with the changes of a YAML file, and split as told.

    Raises:
        ValueError: The YAML file says what a system does not have.
    """
    system = SYSTEMS[name] if config is None else SYSTEMS[name].changed(config)
    return system if split is None else replace(system, split=split)


def export_runs(runs: Sequence[Path], data: Path, out: Path, version: str, **options: bool) -> ModelPackage:
    """Makes a package of a run, of the system as the run recorded it; of several, one that answers with their mean.

    `options` are those of `training.systems.export.export_system`.
    """
    from training.systems.export import export_system

    return export_system([system_of(run) for run in runs], runs, data, out, version, **options)


def system_of(run: Path) -> System:
    """The system that a run trained, as its record says."""
    return System.of(read_record(run)["system"])


def system_in(package: ModelPackage) -> System:
    """The system that a package was made of.

    Raises:
        UnfitError: It was made of something else.
    """
    record = package.manifest.training.model_extra or {}
    if "system" not in record:
        raise UnfitError(f"{package.name} was not made of a published system")
    return System.of(record["system"])


def unseen_names(package: ModelPackage) -> set[str]:
    """Names of the patients, scans or slices that a package held out."""
    return set((package.manifest.training.split or {}).get("held_out", ()))


def unseen(package: ModelPackage, system: System, items: Sequence[Item]) -> list[Item]:
    """The items that the package held out. A slice without tumour was never trained on by who wants tumour only."""
    held_out = unseen_names(package)
    skipped = system.only_positive and system.split == "slice"
    return [item for item in items if {item.name, item.group} & held_out or (skipped and not item.positive)]


def evaluate_system(
    package: ModelPackage,
    data: Path,
    *,
    everyone: bool = False,
    pictures: Path | None = None,
    engine: EngineSettings | None = None,
) -> tuple[int, list[Figure]]:
    """How many items were looked at, and the figures: of those that the package held out, or of all in `data`.

    Raises:
        FileNotFoundError: None of them is in `data`.
    """
    from training.systems.export import measure_package

    system = system_in(package)
    items = system.items(data)
    wanted = items if everyone else [item for item in unseen(package, system, items) if _wanted(system, item)]
    if not wanted:
        raise FileNotFoundError(f"nothing that {package.name} held out is in {data}")
    return len(wanted), measure_package(system, package, wanted, pictures, engine)


def _wanted(system: System, item: Item) -> bool:
    return item.positive or not system.only_positive


def evaluate_two_stages(
    packages: tuple[ModelPackage, ModelPackage], data: Path, *, everyone: bool = False, pictures: Path | None = None
) -> tuple[int, list[Figure]]:
    """As `evaluate_system`, for a classifier and a segmenter that looks where it says tumour (system C).

    Only what both held out is looked at, slices without tumour included.

    Raises:
        FileNotFoundError: There is no such slice in `data`.
        UnfitError: The packages are no classifier and segmenter of the same images.
    """
    from training.evaluate.stages import measure_stages

    classifier, segmenter = systems = system_in(packages[0]), system_in(packages[1])
    tasks, alike = (classifier.task, segmenter.task), [(s.data, s.size, s.channels) for s in systems]
    if tasks != ("classification", "segmentation") or alike[0] != alike[1]:
        names = " and ".join(package.name for package in packages)
        raise UnfitError(
            f"expected a classifier and a segmenter of the same images, received {names}: {tasks}, {alike}"
        )
    items = replace(segmenter, only_positive=False).items(data)
    if not everyone:
        seen_by_neither = [set(map(_name, unseen(p, s, items))) for p, s in zip(packages, systems, strict=True)]
        items = [item for item in items if item.name in seen_by_neither[0] & seen_by_neither[1]]
    if not items:
        raise FileNotFoundError(f"nothing that both {packages[0].name} and {packages[1].name} held out is in {data}")
    return len(items), measure_stages(systems, packages, items, pictures)


def _name(item: Item) -> str:
    return item.name
