"""What a run writes down before it starts: its configuration, what it was given, and what it must not see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.data.items import Item
from training.experiment import System
from training.loop.record import beginning, surroundings
from training.package.manifest import IMAGENET, with_inherited
from training.systems.served import DATA


def describe(system: System, data: Path, training: Sequence[Item], initial: Path | None = None) -> dict[str, Any]:
    """What a run's record says beside its history.

    Args:
        system: What is trained.
        data: The data set.
        training: Items of it to train on.
        initial: Another run's weights, or a package, that it starts from.
    """
    begun = beginning(initial)
    sources = with_inherited(own_sources([system], training), begun["inherited"])
    return {"system": asdict(system), **begun, **surroundings(data, len(training), sources)}


def own_sources(systems: Sequence[System], training: Sequence[Item]) -> list[dict[str, Any]]:
    """What the systems' weights are made from by themselves, as of `training.data` in model.yaml."""
    imagenet = [IMAGENET] if any(each.options.get("pretrained") for each in systems) else []
    return [{**DATA[systems[0].data], "patients": len({item.group for item in training})}, *imagenet]


def write_split(folder: Path, system: System, validation: Sequence[Item], test: Sequence[Item]) -> None:
    """Names of the patients, or slices, that are held out: held_out.json."""
    content: dict[str, Any] = {"by": system.split}
    for name, part in (("validation", validation), ("test", test)):
        content[name] = sorted({item.group if system.split == "patient" else item.name for item in part})
    (folder / "held_out.json").write_text(json.dumps(content, indent=1))
