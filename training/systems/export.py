"""From a system's best checkpoint to a model package, checked against torch, measured with the engine that serves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.package import ModelPackage, load_package
from training.data.items import Item
from training.evaluate.figures import Figure, UnfitError
from training.evaluate.gallery import animate_scan, median_item
from training.evaluate.overlap import reliability_diagram
from training.evaluate.pictures import Shown, draw_gallery
from training.evaluate.predict import by_engine
from training.evaluate.threshold import choose_threshold
from training.experiment import System
from training.loop.record import read_record
from training.networks.mean import Mean
from training.package.card import write_description
from training.package.export import THRESHOLD, check_against_torch, write_onnx
from training.package.half import SECTION, write_half
from training.package.manifest import (
    INTENDED_USE,
    entry_of,
    forget_variants,
    licence_of,
    threshold_of,
    with_inherited,
    write_reference,
)
from training.package.reference import reference_inputs
from training.package.storage import fold_norms, round_weights
from training.systems.learn import build, served
from training.systems.measure import figures_of, look, scores_of
from training.systems.record import own_sources
from training.systems.served import DATA, LICENCES, SERVED, description, labels, limits, package_name

ALIKE = (
    "task",
    "data",
    "channels",
    "classes",
    "inputs",
    "activation",
    "served_size",
    "split",
    "held_out",
    "seed",
    "keep",
)
"""What networks must have in common whose answers are averaged: they read, answer and held out the same."""


def load_network(systems: Sequence[System], runs: Sequence[Path], *, mirror: bool = False) -> Mean:
    """What is served of the systems' networks, with the weights that runs kept, in evaluation mode; see `Mean`."""
    networks = [build(system) for system in systems]
    for network, run in zip(networks, runs, strict=True):
        network.load_state_dict(torch.load(run / "best.pt", weights_only=True)["weights"])
    mean = Mean([served(network) for network in networks], mirror=mirror)
    mean.eval()
    return mean


def export_system(
    systems: Sequence[System],
    runs: Sequence[Path],
    data: Path,
    out: Path,
    version: str,
    *,
    half: bool = True,
    compact: bool = False,
    mirror: bool = False,
    rounded: bool = False,
    pictures: bool = True,
) -> ModelPackage:
    """Writes the package `out/<package name>` of what `runs` kept, with figures measured on items that were held out.

    Several runs become one network that answers with the mean of their logits; the package is the first one's.

    The threshold is chosen on the validation items, or is 0.5 where they are to choose nothing (`System.keep`). The
    figures are of the test items, if the system keeps any, and else of the validation items.

    Args:
        systems: What was trained, as it was trained; one for each run.
        runs: The runs' folders.
        data: The data set; only its held-out items are looked at.
        out: Folder of packages.
        version: Version of the package, such as 0.1.0.
        half: Make an FP16 variant too, if it answers alike.
        compact: Keep the weights in 16 bits; they are rounded before anything is measured.
        mirror: Answer with the mean over the image and its mirror image.
        rounded: Leave an engine that computes in bfloat16 no weights to round.
        pictures: Draw a gallery or a reliability diagram into the first run's folder.

    Raises:
        UnfitError: The runs differ in what they read, answer or held out.
    """
    check_alike(systems)
    system, run = systems[0], runs[0]
    training, validation, test = system.parts(system.items(data))
    folder = out / package_name(system)
    folder.mkdir(parents=True, exist_ok=True)
    forget_variants(folder)
    network, reference = load_network(systems, runs, mirror=mirror), reference_inputs(system)
    if rounded:
        fold_norms(network)
        round_weights(network, torch.bfloat16)
    write_onnx(network, reference, folder / "model.onnx", compact=compact)
    difference = check_against_torch(network, folder / "model.onnx", reference)
    write_reference(folder, {"image": reference})
    content = manifest(systems, runs, folder, version, (training, test or validation, bool(test)))
    content["training"].update({key: True for key, said in (("mirror", mirror), ("rounded", rounded)) if said})
    sections: dict[str, str] = {}
    write_description(folder, content, limits(system), difference, sections)
    if half:
        content["variants"], sections[SECTION] = write_half(load_package(folder))
        write_description(folder, content, limits(system), difference, sections)
    threshold = _threshold(system, load_package(folder), validation)
    content["thresholds"]["mask" if system.task == "segmentation" else "probability"] = threshold
    write_description(folder, content, limits(system), difference, sections)
    figures = measure_package(system, load_package(folder), test or validation, pictures=run if pictures else None)
    content["accuracy"] = [_accuracy(system, figure) for figure in figures if np.isfinite(figure.value)]
    write_description(folder, content, limits(system), difference, sections)
    return load_package(folder)


def _threshold(system: System, package: ModelPackage, validation: Sequence[Item]) -> float:
    if system.keep == "last":
        return THRESHOLD
    with open_engine(package, EngineSettings()) as engine:
        return choose_threshold(system, by_engine(engine), validation)


def measure_package(
    system: System,
    package: ModelPackage,
    items: Sequence[Item],
    pictures: Path | None = None,
    settings: EngineSettings | None = None,
) -> list[Figure]:
    """Figures with the engine that serves, at the package's threshold.

    Args:
        system: What the package was made of.
        package: What is measured.
        items: Nothing of what it was trained on.
        pictures: A folder for gallery.png and gallery.gif (segmentation), or gallery.png and reliability.png.
        settings: Of the engine; the fastest that there is if None.

    Raises:
        UnfitError: The package is of an older export, which was asked otherwise.
    """
    if package.manifest.preprocessing.neighbours != system.neighbours:
        raise UnfitError(f"{package.name} {package.version} was exported for whole volumes: export its run again")
    threshold = threshold_of(package)
    shown: list[Shown] | None = None if pictures is None else []
    with open_engine(package, settings) as engine:
        patients = look(system, by_engine(engine), items, threshold, shown)
        if pictures is not None and shown and len(system.size) == 3:
            animate_scan(pictures / "gallery.gif", system, by_engine(engine), median_item(items, shown), threshold)
    if pictures is not None:
        draw_gallery(pictures / "gallery.png", shown or [])
    if pictures is not None and system.task == "classification":
        scores, truth = (np.concatenate(column) for column in zip(*scores_of(patients), strict=True))
        reliability_diagram(pictures / "reliability.png", scores, truth, package.name)
    return figures_of(system, patients, threshold)


def check_alike(systems: Sequence[System]) -> None:
    """See `export_system`."""
    first = systems[0]
    for system in systems[1:]:
        for name in ALIKE:
            mine, other = getattr(first, name), getattr(system, name)
            if mine != other:
                raise UnfitError(f"{first.name} and {system.name} differ in {name}: {mine} and {other}")


def input_channels(system: System) -> list[str]:
    """Names of the channels that a served network sees: those of each slice that it sees, one after the other."""
    if not system.neighbours:
        return list(system.channels)
    where = {0: "", **{k: f"_{abs(k)}_{'below' if k < 0 else 'above'}" for k in system.neighbours if k}}
    return [f"{name}{where[k]}" for k in system.neighbours for name in system.channels]


def manifest(
    systems: Sequence[System],
    runs: Sequence[Path],
    folder: Path,
    version: str,
    parts: tuple[Sequence[Item], Sequence[Item], bool],
) -> dict[str, Any]:
    """Content of model.yaml, without figures; `parts`: training items, measured items, whether those chose nothing."""
    training, measured, untouched = parts
    system, records = systems[0], [read_record(run) for run in runs]
    use, channels, size = SERVED.get(system.name), input_channels(system), system.served_size or system.size
    size = size[1:] if system.neighbours else size
    spatial = size if system.task == "segmentation" else ()
    image = {"name": "image", "dtype": "float32", "shape": ["batch", len(channels), *size]}
    logits = {"name": "logits", "dtype": "float32", "shape": ["batch", len(system.classes), *spatial]}
    seen = {"neighbours": list(system.neighbours)} if system.neighbours else {}
    return {
        "name": package_name(system),
        "version": version,
        "task": system.task,
        "description": description(system),
        "licence": licence_of(LICENCES[system.data], _inherited(records)),
        "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        "inputs": [{**image, "channels": [{"name": name} for name in channels]}],
        "outputs": [{**logits, "activation": system.activation, "classes": list(system.classes)}],
        "preprocessing": {"name": system.inputs, **(use.preprocessing if use else {}), **seen},
        "labels": labels(system),
        "thresholds": {"mask": 0.5, "probability": 0.5, **(use.thresholds if use else {})},
        "training": _training(systems, records, training, (measured, untouched)),
        "accuracy": [],
        "intended_use": INTENDED_USE,
        "reference_inputs": "reference.npz",
    }


def _training(
    systems: Sequence[System],
    records: Sequence[Mapping[str, Any]],
    training: Sequence[Item],
    measured: tuple[Sequence[Item], bool],
) -> dict[str, Any]:
    (held_out, untouched), system = measured, systems[0]
    by_patient = system.split == "patient"
    nothing = untouched or system.keep == "last"
    initial = [record.get("initial") for record in records]
    chose = "they chose nothing" if nothing else "they also chose the checkpoint and the threshold"
    if nothing and any(initial):
        chose = "last weights, threshold fixed beforehand; they may have chosen the weights that it started from"
    return {
        "data": with_inherited(own_sources(systems, training), _inherited(records)),
        "split": {
            "by": system.split,
            "held_out": sorted({item.group if by_patient else item.name for item in held_out}),
            "note": chose,
        },
        "recipe": system.name,
        "system": _written(system),
        **({"others": [_written(other) for other in systems[1:]]} if systems[1:] else {}),
        **({"initial": initial} if any(initial) else {}),
        "data_digest": records[0]["data_digest"],
        "libraries": records[0]["libraries"],
        "epochs": sum(len(record["history"]) for record in records),
    }


def _inherited(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What is behind the weights that the runs started from."""
    return [source for record in records for source in record.get("inherited", ())]


def _written(system: System) -> dict[str, Any]:
    """As YAML writes it."""
    written: dict[str, Any] = json.loads(json.dumps(asdict(system), default=dict))
    return written


def _accuracy(system: System, figure: Figure) -> dict[str, Any]:
    return entry_of(figure, f"{DATA[system.data]['name']}, held out by {system.split}")
