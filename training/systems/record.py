"""What a run writes down before it starts: its configuration, what it was given, and what it must not see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engines.package import load_package
from training.classic import System
from training.data.items import Item
from training.loop.record import surroundings


def describe(system: System, data: Path, trained_on: int, initial: Path | None = None) -> dict[str, Any]:
    """What a run's record says beside its history.

    Args:
        system: What is trained.
        data: The data set.
        trained_on: Items of it to train on.
        initial: Another run's weights, or a package, that it starts from.
    """
    called = None if initial is None else _called(initial)
    return {"system": asdict(system), "initial": called, **surroundings(data, trained_on)}


def _called(initial: Path) -> str:
    """A package by name and version, weights by the name of their run."""
    if not initial.is_dir():
        return initial.resolve().parent.name
    manifest = load_package(initial).manifest
    return f"{manifest.name} {manifest.version}"


def write_split(folder: Path, system: System, validation: Sequence[Item], test: Sequence[Item]) -> None:
    """Names of the patients, or slices, that are held out: held_out.json."""
    content: dict[str, Any] = {"by": system.split}
    for name, part in (("validation", validation), ("test", test)):
        content[name] = sorted({item.group if system.split == "patient" else item.name for item in part})
    (folder / "held_out.json").write_text(json.dumps(content, indent=1))
