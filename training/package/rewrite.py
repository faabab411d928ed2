"""Changes in the folder of a package that exists: keys of model.yaml, sections of the card."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engines.packages.package import CARD, MANIFEST, ModelPackage, load_package
from engines.plain_yaml import read_yaml
from training.evaluate.figures import Figure
from training.package.card import MEASURED, measured_section, with_section, write_manifest
from training.package.manifest import entry_of


def variants_without(package: ModelPackage, precision: str) -> dict[str, Any]:
    """The package's variants but one, as model.yaml has them."""
    variants = package.manifest.variants.items()
    return {name: one.model_dump(exclude_defaults=True) for name, one in variants if name != precision}


def edit_manifest(folder: Path, **changes: Any) -> dict[str, Any]:
    """Puts `changes` into model.yaml, and returns all of it; no `variants` and no `calibration` where there is none."""
    content: dict[str, Any] = read_yaml((folder / MANIFEST).read_text()) | changes
    for key in ("variants", "calibration"):
        if not content.get(key):
            content.pop(key, None)
    write_manifest(folder, content)
    return content


def edit_card(folder: Path, title: str, text: str) -> None:
    """Puts a section into the card, in the place of the one of that title."""
    (folder / CARD).write_text(with_section((folder / CARD).read_text(), title, text))


def write_figures(folder: Path, figures: Sequence[Figure]) -> None:
    """What was measured anew, in the place of model.yaml's figures and the card's, whose heading gets the version."""
    package = load_package(folder)
    dataset = package.manifest.accuracy[0].dataset if package.manifest.accuracy else "held-out patients"
    content = edit_manifest(
        folder, accuracy=[entry_of(figure, dataset) for figure in figures if np.isfinite(figure.value)]
    )
    edit_card(folder, MEASURED, measured_section(content))
    heading, rest = (folder / CARD).read_text().split("\n", 1)
    if heading.startswith(f"# {package.name} "):
        (folder / CARD).write_text(f"# {package.name} {package.version}\n{rest}")


def put_in_place(draft: Path, folder: Path, names: Sequence[str]) -> None:
    """Files of a package that was made elsewhere, each replaced whole; model.yaml last, for it says what there is."""
    folder.mkdir(parents=True, exist_ok=True)
    there = [name for name in (*names, CARD, MANIFEST) if (draft / name).exists()]
    for name in there:
        shutil.copyfile(draft / name, folder / f"{name}.part")
    for name in there:  # all in one go: a package that is half of each is refused when it is loaded
        (folder / f"{name}.part").replace(folder / name)
