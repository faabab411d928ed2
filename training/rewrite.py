"""Changes in the folder of a package that exists: keys of model.yaml, sections of the card."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from engines.package import CARD, MANIFEST, ModelPackage
from training.card import with_section, write_manifest


def variants_without(package: ModelPackage, precision: str) -> dict[str, Any]:
    """The package's variants but one, as model.yaml has them."""
    variants = package.manifest.variants.items()
    return {name: one.model_dump(exclude_defaults=True) for name, one in variants if name != precision}


def edit_manifest(folder: Path, **changes: Any) -> dict[str, Any]:
    """Puts `changes` into model.yaml, and returns all of it; no `variants` where there is none."""
    content: dict[str, Any] = yaml.safe_load((folder / MANIFEST).read_text()) | changes
    if not content.get("variants"):
        content.pop("variants", None)
    write_manifest(folder, content)
    return content


def edit_card(folder: Path, title: str, text: str) -> None:
    """Puts a section into the card, in the place of the one of that title."""
    (folder / CARD).write_text(with_section((folder / CARD).read_text(), title, text))


def put_in_place(draft: Path, folder: Path, names: Sequence[str]) -> None:
    """Files of a package that was made elsewhere, each replaced whole; model.yaml last, for it says what there is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*names, CARD, MANIFEST):
        if (draft / name).exists():
            shutil.copyfile(draft / name, folder / f"{name}.part")
            (folder / f"{name}.part").replace(folder / name)
