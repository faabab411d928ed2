"""What `scanward train` does when the name is a recipe's."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.data.items import SplitBy
from training.evaluate.figures import UnfitError
from training.recipes import Recipe

if TYPE_CHECKING:
    from training.loop.train import Limits

PHANTOMS = 24


def train_recipe(
    recipe: Recipe,
    data: Path,
    folder: Path,
    limits: Limits,
    *,
    phantoms: int | None = None,
    more: Path | None = None,
    split: SplitBy | None = None,
    **options: Any,
) -> list[dict[str, float]]:
    """Trains `recipe` and returns its history; a run by slice is measured at once, since it is never exported.

    Args:
        recipe: What to train.
        data: The data set.
        folder: Where the run goes.
        limits: When it ends.
        phantoms: How many phantoms are mixed in; `PHANTOMS` if None.
        more: A further data set to mix in, of the kind that the recipe names.
        split: By what, instead of the recipe's way.
        options: Further ones of `training.loop.fit.fit`.

    Raises:
        UnfitError: `more` for a recipe that mixes nothing in.
    """
    from training.data.case import gather
    from training.data.layouts.brats_slices import brats_slices
    from training.data.phantoms import phantom_cases
    from training.evaluate.by_slice import measure_by_slice
    from training.loop.fit import fit
    from training.loop.train import is_first

    if more is not None and recipe.more is None:
        raise UnfitError(f"{recipe.name}: expected no further data set, received {more}")
    if split == "slice":  # looking at neighbours of what is trained on chooses nothing worth having
        recipe = replace(recipe, split=split, keep="last")
    cases = recipe.loader(data)
    number = PHANTOMS if phantoms is None else phantoms
    mixed = gather(phantom_cases(recipe.preprocessing, number, recipe.seed)) if number else None
    further = None if more is None else brats_slices(more)
    history = fit(recipe, data, cases, folder, limits, phantoms=mixed, more=further, **options)
    if recipe.split == "slice" and is_first():
        figures = measure_by_slice([(recipe, folder)], cases)
        (folder / "figures.json").write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    return history
