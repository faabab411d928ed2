"""`scanward export`: from runs to a model package, checked against torch, measured with the engine that serves."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
import torch

from engines.packages.package import NETWORK, ModelPackage, load_package
from training.data import dataset
from training.evaluate.measure import chosen_threshold, measure
from training.experiment import Experiment
from training.experiments import EXPERIMENTS
from training.loop.record import experiment_of, read_record
from training.networks.ensemble import Of
from training.package.card import write_description
from training.package.descriptions import describe
from training.package.manifest import REFERENCE, accuracy, forget_variants, manifest, write_reference
from training.package.network import check_against_torch, mean_of, write_onnx
from training.package.origin import check_alike
from training.package.reference import reference_inputs
from training.package.rewrite import put_in_place
from training.package.sixteen_bits import fold_norms, round_weights

log = structlog.get_logger(__name__)


def recorded_as(name: str, run: Path) -> Experiment:
    """What a run is exported as: what it was trained as, or the experiment of that name whose task is another one.

    `lgg-classifier` is the encoder of `lgg-resunet`, and takes its weights.
    """
    trained, named = experiment_of(run), EXPERIMENTS[name]
    return named if named.prepared and named.task != trained.task else trained


def export(
    experiments: Sequence[Experiment],
    runs: Sequence[Path],
    data: Path,
    out: Path,
    version: str,
    *,
    compact: bool = False,
    mirror: bool = False,
    rounded: bool = False,
    of: Of = "logits",
    threshold: float | None = None,
    pictures: bool = True,
) -> ModelPackage:
    """Writes the package `out/<package name>` of what `runs` kept, with figures measured on what was held out.

    Several runs become one network that answers with their mean; the package is the first one's. Unless it is given,
    the threshold is chosen on the validation part, or is 0.5 where that is to choose nothing (`Experiment.keep`). The
    figures are of the test part, if the experiment keeps any, and else of the validation part.

    Args:
        experiments: What was trained, as it was trained; one for each run.
        runs: The runs' folders.
        data: The data set; only what was held out is looked at.
        out: Folder of packages.
        version: Version of the package, such as 0.1.0.
        compact: Keep the weights in 16 bits; they are rounded before anything is measured.
        mirror: Answer with the mean over the image and its mirror image.
        rounded: Leave an engine that computes in bfloat16 no weights to round.
        of: Of several runs, what the mean is taken of.
        threshold: From which probability on it counts. With probabilities, under 0.5, a network that is sure outvotes
            one that sees nothing.
        pictures: Draw a gallery or a reliability diagram into the first run's folder.

    Raises:
        UnfitError: The runs differ in what they read, answer or held out.
        ValueError: A run on prepared slices was split by slice, so it has seen every patient.
    """
    check_alike(experiments)
    records = [read_record(run) for run in runs]
    for run, record in zip(runs, records, strict=True):
        if experiments[0].prepared and record["experiment"]["split"] == "slice":
            raise ValueError(f"{run}: was split by slice, for comparison only; expected one that was split by patient")
    first = experiments[0]
    parts = dataset.split(first, dataset.read(first, data))
    folder = out / first.package_name
    network, reference = mean_of(experiments, runs, mirror=mirror, of=of), reference_inputs(first)
    if rounded:
        fold_norms(network)
        round_weights(network, torch.bfloat16)
    told = _options(runs, of, threshold, mirror=mirror, rounded=rounded, compact=compact)
    with tempfile.TemporaryDirectory() as place:  # a package is there as it was, or whole
        draft = Path(place) / first.package_name
        draft.mkdir()
        write_onnx(network, reference, draft / NETWORK, compact=compact)
        difference = check_against_torch(network, draft / NETWORK, reference)
        write_reference(draft, {"image": reference})
        content = manifest(experiments, records, (draft / NETWORK).read_bytes(), version, parts, reference.shape[1:])
        content["training"].update(told)
        limits = describe(first).limits
        write_description(draft, content, limits, difference)
        threshold = threshold or chosen_threshold(first, load_package(draft), parts.validation)
        content["thresholds"]["mask" if first.task == "segmentation" else "probability"] = threshold
        write_description(draft, content, limits, difference)
        figures = measure(first, load_package(draft), parts.measured, runs[0] if pictures else None)
        content["accuracy"] = accuracy(first, figures)
        write_description(draft, content, limits, difference)
        put_in_place(draft, folder, [NETWORK, REFERENCE])
    forget_variants(folder)
    for figure in figures:
        log.info("figure", package=first.package_name, figure=str(figure))
    return load_package(folder)


def _options(runs: Sequence[Path], of: Of, threshold: float | None, **said: bool) -> dict[str, Any]:
    """What the command was told, as far as it makes the network another one."""
    given: dict[str, Any] = {name: True for name, told in said.items() if told}
    if len(runs) > 1:
        given["mean"] = of
    return given if threshold is None else {**given, "threshold": threshold}
