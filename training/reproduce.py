"""`scanward reproduce PACKAGE`: a shipped package made again from the data set alone, and its figures beside those.

Learning rates follow the clock, so a package made again has figures like these, not the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from engines.packages.package import ModelPackage, load_package, shipped_folder
from training.errors import UnfitError
from training.experiments import EXPERIMENTS
from training.loop.record import was_begun

if TYPE_CHECKING:
    from training.loop.train import RunLimits
    from training.networks.ensemble import Of

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TrainedPart:
    """One training, and the package of what it kept.

    Attributes:
        trained: Name of the experiment.
        minutes: What one core took for the weights that ship, or a little more.
        exported: Name that it is exported as, where that is another one: two experiments may share a network.
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
        options: Of the export of what ships: `compact`, `mirror` and `rounded`.
    """

    parts: tuple[TrainedPart, ...]
    of: Of = "probabilities"
    threshold: float = 0.5
    options: tuple[str, ...] = ()


_LGG_RESUNET = TrainedPart("lgg-resunet", 66.0)
MAKINGS = {
    "brain-lgg-classifier": Making((replace(_LGG_RESUNET, exported="lgg-classifier"),), options=("compact",)),
    "brain-lgg-resunet": Making(
        (_LGG_RESUNET, TrainedPart("lgg-lite-unet", 75.0)), of="probabilities", threshold=0.4, options=("compact",)
    ),
    "abdomen-liver-unet": Making(
        (TrainedPart("liver-unet", 65.0), TrainedPart("liver-lite-unet", 65.0)), of="logits", options=("compact",)
    ),
    "brain-brats-slices-unet": Making(
        (TrainedPart("brats-slices-unet", 220.0),), options=("mirror", "rounded", "compact")
    ),
}


def reproduce(name: str, data: Path, out: Path, runs: Path, limits: RunLimits) -> ModelPackage:
    """Makes `out/name` by today's recipe for the shipped package of that name; what is in `runs` is not trained again.

    Args:
        name: Key of `MAKINGS`.
        data: The data set, as published.
        out: Folder of packages.
        runs: Folder of the runs. One that was interrupted is taken up where it was left.
        limits: Minutes or epochs instead of those of the parts.

    Raises:
        UnfitError: What is in `runs` was begun otherwise.
    """
    from training.package.export import export, recorded_as

    making = MAKINGS[name]
    trained = [(part, _trained(part, data, runs / part.trained, limits)) for part in making.parts]
    experiments = [recorded_as(part.exported or part.trained, run) for part, run in trained]
    options: dict[str, Any] = dict.fromkeys(making.options, True)
    if len(trained) > 1:
        options |= {"of": making.of, "threshold": making.threshold}
    export(experiments, [run for _, run in trained], data, out, "0.1.0", **options)
    from training.package.calibrate import add_calibration
    from training.package.int8 import add_int8

    for add in (add_int8, add_calibration):
        try:
            add(out / name, data)
        except UnfitError as error:  # the processor may not compute in INT8
            log.warning("int8_left_out", by=add.__name__, reason=str(error))
    return load_package(out / name)


def _trained(part: TrainedPart, data: Path, run: Path, limits: RunLimits) -> Path:
    from training.loop.fit import PHANTOMS, fit

    resume = was_begun(run)
    minutes = part.minutes if limits.minutes is None and limits.epochs is None else limits.minutes
    log.info("part", training=part.trained, run=str(run), taken_up=resume)
    asked = replace(limits, minutes=minutes, devices=1, resume=resume)
    fit(EXPERIMENTS[part.trained], data, run, asked, phantoms=PHANTOMS)
    return run


def beside_shipped(package: ModelPackage) -> list[tuple[str, str, str]]:
    """(figure, of the package that ships, of this one) for every figure that either has."""
    both = (load_package(shipped_folder() / package.name), package)
    shipped, made = ({one.metric: f"{one.value:.3f}" for one in each.manifest.accuracy} for each in both)
    return [(metric, shipped.get(metric, ""), made.get(metric, "")) for metric in {**shipped, **made}]
