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
import yaml
from torch import Tensor, nn

from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.package import ModelPackage, load_package
from training.card import write_card
from training.classic import System
from training.data.items import Item
from training.evaluate import Figure
from training.export import THRESHOLD, check_against_torch, write_onnx
from training.figures import reliability_diagram
from training.half import SECTION, write_half
from training.package import INTENDED_USE
from training.pictures import Shown, draw_gallery
from training.systems.gallery import animate_scan, median_item
from training.systems.learn import build
from training.systems.measure import figures_of, look, scores_of
from training.systems.predict import by_engine
from training.systems.reference import reference_inputs
from training.systems.served import DATA, LICENCES, SERVED, description, labels, limits, package_name
from training.systems.threshold import choose_threshold


class Plain(nn.Module):
    """The network with the input name that a package has."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, ...) to logits."""
        logits: Tensor = self.network(image)
        return logits


def load_network(system: System, checkpoint: Path) -> Plain:
    """The system's network with the weights of `checkpoint`, in evaluation mode."""
    network = build(system)
    network.load_state_dict(torch.load(checkpoint, weights_only=True)["weights"])
    plain = Plain(network)
    plain.eval()
    return plain


def export_system(
    system: System, run: Path, data: Path, out: Path, version: str, *, half: bool = True, pictures: bool = True
) -> ModelPackage:
    """Writes the package `out/<package name>` from `run/best.pt`, with figures measured on items that were held out.

    The threshold is chosen on the validation items, or is 0.5 where they are to choose nothing (`System.keep`). The
    figures are of the test items, if the system keeps any, and else of the validation items.

    Args:
        system: What was trained, as it was trained.
        run: The run's folder.
        data: The data set; only its held-out items are looked at.
        out: Folder of packages.
        version: Version of the package, such as 0.1.0.
        half: Make an FP16 variant too, if it answers alike.
        pictures: Draw a gallery or a reliability diagram into the run's folder.
    """
    training, validation, test = system.parts(system.items(data))
    folder = out / package_name(system)
    folder.mkdir(parents=True, exist_ok=True)
    network, reference = load_network(system, run / "best.pt"), reference_inputs(system)
    write_onnx(network, reference, folder / "model.onnx")
    difference = check_against_torch(network, folder / "model.onnx", reference)
    np.savez_compressed(folder / "reference.npz", image=reference)
    content = manifest(system, run, folder, version, (training, test or validation, bool(test)))
    sections: dict[str, str] = {}
    _write(folder, content, system, difference, sections)
    if half:
        content["variants"], sections[SECTION] = write_half(load_package(folder))
        _write(folder, content, system, difference, sections)
    threshold = _threshold(system, load_package(folder), validation)
    content["thresholds"]["mask" if system.task == "segmentation" else "probability"] = threshold
    _write(folder, content, system, difference, sections)
    figures = measure_package(system, load_package(folder), test or validation, pictures=run if pictures else None)
    content["accuracy"] = [_accuracy(system, figure) for figure in figures if np.isfinite(figure.value)]
    _write(folder, content, system, difference, sections)
    return load_package(folder)


def _threshold(system: System, package: ModelPackage, validation: Sequence[Item]) -> float:
    if system.keep == "last":
        return THRESHOLD
    with open_engine(package, EngineSettings()) as engine:
        return choose_threshold(system, by_engine(engine), validation)


def threshold_of(package: ModelPackage) -> float:
    """The threshold that the package serves with."""
    thresholds = package.manifest.thresholds
    return thresholds.mask if package.manifest.task == "segmentation" else thresholds.probability


def measure_package(
    system: System, package: ModelPackage, items: Sequence[Item], pictures: Path | None = None
) -> list[Figure]:
    """Figures with the engine that serves, at the package's threshold.

    Args:
        system: What the package was made of.
        package: What is measured.
        items: Nothing of what it was trained on.
        pictures: A folder for gallery.png and gallery.gif (segmentation), or gallery.png and reliability.png.
    """
    threshold = threshold_of(package)
    shown: list[Shown] | None = None if pictures is None else []
    with open_engine(package, EngineSettings()) as engine:
        patients = look(system, by_engine(engine), items, threshold, shown)
        if pictures is not None and shown and len(system.size) == 3:
            animate_scan(pictures / "gallery.gif", system, by_engine(engine), median_item(items, shown), threshold)
    if pictures is not None:
        draw_gallery(pictures / "gallery.png", shown or [])
    if pictures is not None and system.task == "classification":
        scores, truth = (np.concatenate(column) for column in zip(*scores_of(patients), strict=True))
        reliability_diagram(pictures / "reliability.png", scores, truth, package.name)
    return figures_of(system, patients, threshold)


def manifest(
    system: System, run: Path, folder: Path, version: str, parts: tuple[Sequence[Item], Sequence[Item], bool]
) -> dict[str, Any]:
    """Content of model.yaml, without figures; `parts`: training items, measured items, whether those chose nothing."""
    training, measured, untouched = parts
    record = json.loads((run / "record.json").read_text())
    served, size = SERVED.get(system.name), system.served_size or system.size
    spatial = size if system.task == "segmentation" else ()
    image = {"name": "image", "dtype": "float32", "shape": ["batch", len(system.channels), *size]}
    logits = {"name": "logits", "dtype": "float32", "shape": ["batch", len(system.classes), *spatial]}
    return {
        "name": package_name(system),
        "version": version,
        "task": system.task,
        "description": description(system),
        "licence": LICENCES[system.data],
        "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        "inputs": [{**image, "channels": [{"name": name} for name in system.channels]}],
        "outputs": [{**logits, "activation": system.activation, "classes": list(system.classes)}],
        "preprocessing": {"name": system.inputs, **(served.preprocessing if served else {})},
        "labels": labels(system),
        "thresholds": {"mask": 0.5, "probability": 0.5, **(served.thresholds if served else {})},
        "training": _training(system, record, training, (measured, untouched)),
        "accuracy": [],
        "intended_use": INTENDED_USE,
        "reference_inputs": "reference.npz",
    }


def _training(
    system: System, record: Mapping[str, Any], training: Sequence[Item], measured: tuple[Sequence[Item], bool]
) -> dict[str, Any]:
    held_out, untouched = measured
    by_patient = system.split == "patient"
    nothing = untouched or system.keep == "last"
    chose = "they chose nothing" if nothing else "they also chose the checkpoint and the threshold"
    return {
        "data": [{**DATA[system.data], "patients": len({item.group for item in training})}],
        "split": {
            "by": system.split,
            "held_out": sorted({item.group if by_patient else item.name for item in held_out}),
            "note": chose,
        },
        "recipe": system.name,
        "system": json.loads(json.dumps(asdict(system), default=dict)),
        "data_digest": record["data_digest"],
        "libraries": record["libraries"],
        "epochs": len(record["history"]),
    }


def _accuracy(system: System, figure: Figure) -> dict[str, Any]:
    interval = [round(bound, 4) for bound in figure.interval] if figure.interval else None
    where = f"{DATA[system.data]['name']}, held out by {system.split}"
    return {
        "metric": figure.metric,
        "value": round(figure.value, 4),
        "dataset": where,
        "n": figure.n,
        "ci95": interval if interval and np.isfinite(interval).all() else None,
    }


def _write(
    folder: Path, content: dict[str, Any], system: System, difference: float, sections: Mapping[str, str]
) -> None:
    (folder / "model.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))
    write_card(folder / "MODEL_CARD.md", content, limits(system), difference, sections)
