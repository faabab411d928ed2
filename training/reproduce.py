"""`scanward reproduce PACKAGE`: a shipped package made again from the data set alone, and its figures beside those.

Learning rates follow the clock, so a package made again has figures like these, not the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from engines.package import ModelPackage, load_package, shipped_folder
from training.evaluate.figures import UnfitError
from training.experiments import SYSTEMS
from training.loop.record import was_begun
from training.recipes import RECIPES

if TYPE_CHECKING:
    from training.loop.train import Limits
    from training.package.mean import Of

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Part:
    """One training, and the package of what it kept.

    Attributes:
        trained: Name of the recipe or system.
        minutes: What one core took for the weights that ship, or a little more.
        exported: Name that it is exported as, where that is another one: two recipes may share a network.
    """

    trained: str
    minutes: float
    exported: str | None = None


@dataclass(frozen=True)
class Making:
    """How a shipped package is made.

    Attributes:
        parts: Its trainings.
        of: Of several parts, what the mean is taken of.
        threshold: Of a mean, from which probability on it counts.
        options: Of the export of what ships: `compact`, and for systems `mirror` and `rounded`.
    """

    parts: tuple[Part, ...]
    of: Of = "probabilities"
    threshold: float = 0.5
    options: tuple[str, ...] = ()


_LGG_RESUNET = Part("lgg-resunet", 66.0)
MAKINGS = {
    "brain-lgg-classifier": Making((replace(_LGG_RESUNET, exported="lgg-classifier"),), options=("compact",)),
    "brain-lgg-resunet": Making(
        (_LGG_RESUNET, Part("lgg-lite-unet", 75.0)), of="probabilities", threshold=0.4, options=("compact",)
    ),
    "abdomen-liver-unet": Making(
        (Part("liver-unet", 65.0), Part("liver-lite-unet", 65.0)), of="logits", options=("compact",)
    ),
    "brain-brats-slices-unet": Making((Part("brats-slices-unet", 220.0),), options=("mirror", "rounded", "compact")),
}


def reproduce(name: str, data: Path, out: Path, runs: Path, limits: Limits) -> ModelPackage:
    """Makes `out/name` by today's recipe for the shipped package of that name; what is in `runs` is not trained again.

    Args:
        name: Key of `MAKINGS`.
        data: The data set, as published.
        out: Folder of packages; its folder `parts` takes the packages that a mean is taken of.
        runs: Folder of the runs. One that was interrupted is taken up where it was left.
        limits: Minutes or epochs instead of those of the parts.

    Raises:
        UnfitError: What is in `runs` was begun otherwise.
    """
    making = MAKINGS[name]
    several = len(making.parts) > 1
    folders = []
    for part in making.parts:
        run = _trained(part, data, runs / part.trained, limits)
        options = {"half": False} | ({} if several else dict.fromkeys(making.options, True))
        folders.append(_exported(part, data, run, out / "parts" if several else out, options).folder)
    if several:
        from training.package.mean import put_together

        compact = "compact" in making.options
        put_together(folders, data, out, "0.1.0", of=making.of, threshold=making.threshold, compact=compact)
    from training.package.calibrate import add_calibration
    from training.package.int8 import add_int8

    for add in (add_int8, add_calibration):
        try:
            add(out / name, data)
        except UnfitError as error:  # the processor may not compute in INT8
            log.warning("int8_left_out", by=add.__name__, reason=str(error))
    return load_package(out / name)


def _trained(part: Part, data: Path, run: Path, limits: Limits) -> Path:
    resume = was_begun(run)
    minutes = part.minutes if limits.minutes is None and limits.epochs is None else limits.minutes
    log.info("part", training=part.trained, run=str(run), taken_up=resume)
    asked = replace(limits, minutes=minutes, devices=1, resume=resume)
    if part.trained in SYSTEMS:
        from training.systems.fit import fit_system

        fit_system(SYSTEMS[part.trained], data, run, asked)
    else:
        from training.train_recipe import train_recipe

        train_recipe(RECIPES[part.trained], data, run, asked)
    return run


def _exported(part: Part, data: Path, run: Path, out: Path, options: dict[str, Any]) -> ModelPackage:
    if part.trained in SYSTEMS:
        from training.systems.commands import export_runs

        return export_runs([run], data, out, "0.1.0", **options)
    from training.package.export import export

    recipe = RECIPES[part.exported or part.trained]
    return export(recipe, [run], recipe.loader(data), out, "0.1.0", **options)


def beside_shipped(package: ModelPackage) -> list[tuple[str, str, str]]:
    """(figure, of the package that ships, of this one) for every figure that either has."""
    both = (load_package(shipped_folder() / package.name), package)
    shipped, made = ({one.metric: f"{one.value:.3f}" for one in each.manifest.accuracy} for each in both)
    return [(metric, shipped.get(metric, ""), made.get(metric, "")) for metric in {**shipped, **made}]
