"""Changes in the folder of a package that exists: keys of model.yaml, sections of the card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from engines.package import CARD, MANIFEST, ModelPackage
from training.card import with_section


def variants_without(package: ModelPackage, precision: str) -> dict[str, Any]:
    """The package's variants but one, as model.yaml has them."""
    variants = package.manifest.variants.items()
    return {name: one.model_dump(exclude_defaults=True) for name, one in variants if name != precision}


def edit_manifest(folder: Path, **changes: Any) -> dict[str, Any]:
    """Puts `changes` into model.yaml, and returns all of it; no `variants` where there is none."""
    content: dict[str, Any] = yaml.safe_load((folder / MANIFEST).read_text()) | changes
    if not content.get("variants"):
        content.pop("variants", None)
    (folder / MANIFEST).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))
    return content


def edit_card(folder: Path, title: str, text: str) -> None:
    """Puts a section into the card, in the place of the one of that title."""
    (folder / CARD).write_text(with_section((folder / CARD).read_text(), title, text))
