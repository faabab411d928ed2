"""What `scanward train|export|evaluate` do when the name is a published system's."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engines.package import ModelPackage
from training.classic import SYSTEMS, System
from training.data.items import SplitBy
from training.evaluate import Figure


def chosen(name: str, config: Path | None = None, split: SplitBy | None = None) -> System:
    """The system `name` with the changes of a YAML file, and split as told.

    Raises:
        ValueError: The YAML file says what a system does not have.
    """
    system = SYSTEMS[name] if config is None else SYSTEMS[name].changed(config)
    return system if split is None else replace(system, split=split)


def train_system(system: System, data: Path, folder: Path, threads: int | None, options: Mapping[str, Any]) -> None:
    """Trains `system`; `options` are those of `training.systems.fit.fit_system`."""
    from training.fit import use_threads
    from training.systems.fit import fit_system

    use_threads(threads)
    fit_system(system, data, folder, progress=sys.stderr.isatty(), **options)


def export_run(run: Path, data: Path, out: Path, version: str) -> ModelPackage:
    """Makes a package of a run, of the system as the run recorded it."""
    from training.systems.export import export_system

    system = System.of(json.loads((run / "record.json").read_text())["system"])
    return export_system(system, run, data, out, version)


def evaluate_package(package: ModelPackage, data: Path, *, everyone: bool) -> tuple[int, list[Figure]]:
    """How many items were looked at, and the figures: of those that the package held out, or of all in `data`."""
    from training.systems.export import measure_package

    record = package.manifest.training
    system = System.of((record.model_extra or {})["system"])
    held_out, items = set(record.split["held_out"]), system.items(data)
    wanted = [item for item in items if everyone or {item.name, item.group} & held_out]
    if not wanted:
        raise FileNotFoundError(f"none of the {len(held_out)} held-out patients or slices is in {data}")
    return len(wanted), measure_package(system, package, wanted)
