"""Figures of a run that was split by slice, as publications split: for comparison, never for a package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from training.data.case import Case
from training.evaluate.figures import Figure, Segmented, UnfitError, segmentation_figures
from training.evaluate.overlap import Overlap
from training.loop.fit import split
from training.loop.record import data_digest, is_by_slice, read_record
from training.package.export import mean_answer
from training.recipes import Recipe

log = structlog.get_logger(__name__)

THRESHOLD = 0.5
TVERSKY_THRESHOLD = 0.3
"""A pixel adds more to Tversky (0.7, 0.3) than it costs from 0.3 times the figure itself up, so from just below 0.3."""


ALIKE = ("task", "data", "preprocessing", "channels", "classes", "held_out", "seed")
"""What recipes must share whose runs are measured together: what they take and answer, and what decides the split."""


def measure_runs(runs: Sequence[Path], data: Path) -> list[Figure]:
    """As `measure_by_slice`, of runs as they were recorded.

    Raises:
        UnfitError: They are no runs by slice, of recipes that do not go together, or not of this data.
    """
    for run in runs:
        if not is_by_slice(run):
            raise UnfitError(f"{run}: expected the run of a recipe, trained with --split slice")
    recorded = [read_record(run) for run in runs]
    recipes = [TypeAdapter(Recipe).validate_python(record["recipe"]) for record in recorded]
    for one in recipes[1:]:
        different = [name for name in ALIKE if getattr(one, name) != getattr(recipes[0], name)]
        if different:
            names = f"{recipes[0].name} and {one.name} differ in {', '.join(different)}"
            raise UnfitError(f"expected runs that held out the same slices and answer with the same; {names}")
    if {record["data_digest"] for record in recorded} != {data_digest(data)}:
        raise UnfitError(f"{data} is not the data that they were trained on, so other slices would be held out")
    kept = list(zip(recipes, runs, strict=True))
    return measure_by_slice(kept, recipes[0].loader(data))


def measure_by_slice(kept: Sequence[tuple[Recipe, Path]], cases: Sequence[Case]) -> list[Figure]:
    """Figures on the held-out slices, with torch; among them Tversky over all their pixels together.

    Args:
        kept: What was trained, split by slice, and the run's folder, whose `best.pt` answers; of several, the mean of
            their logits. They differ in nothing of `ALIKE`.
        cases: All patients of the data set; both parts of the split have slices of each.
    """
    recipe, answer = kept[0][0], mean_answer(kept)

    def predict(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            logits = answer(torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last))
        probabilities: NDArray[np.float32] = torch.sigmoid(logits.float()).numpy()
        return probabilities

    segmented = [Segmented.of(predict, case) for case in split(recipe, cases)[1]]
    figures = segmentation_figures(segmented, recipe.classes, THRESHOLD)
    for channel, name in enumerate(recipe.classes):
        slices = sum(int(each.case.trusted[:, channel].sum()) for each in segmented)
        for threshold in (THRESHOLD, TVERSKY_THRESHOLD):
            overlaps = [_overlap(each, channel, threshold) for each in segmented]
            together, where = sum(overlaps[1:], overlaps[0]), f"all pixels together, threshold {threshold}"
            figures.append(Figure(f"{name}: Tversky (0.7, 0.3), {where}", together.tversky(), slices))
            figures.append(Figure(f"{name}: Dice, {where}", together.dice, slices))
    for figure in figures:
        log.info("figure_by_slice", recipes=[one.name for one, _ in kept], figure=str(figure))
    return figures


def _overlap(segmented: Segmented, channel: int, threshold: float) -> Overlap:
    """Over the held-out slices of one patient."""
    trusted = segmented.case.trusted[:, channel]
    found = segmented.probabilities[trusted, channel] >= threshold * 255
    return Overlap.of(found, segmented.case.masks[trusted, channel])
