"""From a system's best checkpoint to a model package, checked against torch, measured with the engine that serves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.package import ModelPackage, load_package
from pipelines.phantom import PhantomOptions, make_phantom
from training.classic import System
from training.data.inputs import INPUTS
from training.data.items import Item
from training.evaluate import Figure
from training.export import check_against_torch, write_onnx
from training.figures import reliability_diagram
from training.package import BRAIN, INTENDED_USE, LABELS, LICENCE, NEOPLASM
from training.package import DATA as RECIPE_DATA
from training.systems.gallery import draw_gallery
from training.systems.learn import build
from training.systems.measure import figures_of, look, scores_of
from training.systems.predict import by_engine

DATA: dict[str, dict[str, str]] = {
    "lgg": RECIPE_DATA["lgg"],
    "lits": RECIPE_DATA["liver"],
    "yesno": {
        "name": "Brain MRI Images for Brain Tumor Detection (Kaggle, Chakrabarty)",
        "licence": "unknown: pictures from the web",
        "citation": "kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection",
    },
    "brats": {
        "name": "BraTS 2018/2021 (or MSD Task01_BrainTumour)",
        "licence": "research only, as the challenge's terms say",
        "citation": "Menze B et al. IEEE Trans Med Imaging 2015;34:1993; Bakas S et al. Sci Data 2017;4:170117",
    },
}
_LICENCE = {
    "lgg": LICENCE["lgg"],
    "lits": LICENCE["liver"],
    "yesno": "Weights: research only, the training data's licence is unknown",
    "brats": "Weights: research only, as the training data",
}
_COLOURS = ([230, 60, 50], [90, 200, 90], [70, 130, 240])


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


def reference_inputs(system: System) -> NDArray[np.float32]:
    """Two inputs from phantoms (no patient's image is in a package), (2, channels, ...)."""
    kind = "abdomen-ct" if system.data == "lits" else "brain-mr"
    slices = system.size[0] if len(system.size) == 3 else 2
    view = 400.0 if kind == "abdomen-ct" else 240.0
    found = []
    for seed in (90_000, 90_001):
        options = PhantomOptions(
            slices=slices, matrix=max(system.size[-2:]), pixel_mm=view / max(system.size[-2:]), slice_mm=5.0, seed=seed
        )
        images, _ = make_phantom(kind, options).render()
        names = [name if name in images else next(iter(images)) for name in system.channels]
        raw = np.stack([images[name] for name in names])[..., : system.size[-2], : system.size[-1]]
        raw = raw if len(system.size) == 3 else raw[:, 0]
        found.append(INPUTS[system.inputs](np.clip(raw / 2, 0, 255) if system.data in {"yesno", "lgg"} else raw))
    return np.stack(found).astype(np.float16).astype(np.float32)


def export_system(system: System, run: Path, data: Path, out: Path, version: str) -> ModelPackage:
    """Writes the package `out/<system>` from `run/best.pt`, with figures measured on the items that were held out.

    The threshold stays at 0.5, as published.

    Args:
        system: What was trained, as it was trained.
        run: The run's folder.
        data: The data set; only its held-out items are looked at.
        out: Folder of packages.
        version: Version of the package, such as 0.1.0.
    """
    training, validation, test = system.parts(system.items(data))
    folder = out / system.name
    folder.mkdir(parents=True, exist_ok=True)
    network, reference = load_network(system, run / "best.pt"), reference_inputs(system)
    write_onnx(network, reference, folder / "model.onnx")
    difference = check_against_torch(network, folder / "model.onnx", reference)
    np.savez_compressed(folder / "reference.npz", image=reference)
    content = manifest(system, run, folder, version, (training, test or validation, bool(test)))
    _write(folder, content, difference)
    figures = measure_package(system, load_package(folder), test or validation, pictures=run)
    content["accuracy"] = [_accuracy(system, figure) for figure in figures if np.isfinite(figure.value)]
    _write(folder, content, difference)
    return load_package(folder)


def measure_package(
    system: System, package: ModelPackage, items: Sequence[Item], pictures: Path | None = None
) -> list[Figure]:
    """Figures with the engine that serves; `pictures` is a folder for a reliability diagram or a gallery."""
    with open_engine(package, EngineSettings()) as engine:
        patients = look(system, by_engine(engine), items)
        if pictures is not None and system.task == "segmentation":
            draw_gallery(pictures / "gallery.png", system, by_engine(engine), items)
    if pictures is not None and system.task == "classification":
        scores, truth = (np.concatenate(column) for column in zip(*scores_of(patients), strict=True))
        reliability_diagram(pictures / "reliability.png", scores, truth, package.name)
    return figures_of(system, patients)


def manifest(
    system: System, run: Path, folder: Path, version: str, parts: tuple[Sequence[Item], Sequence[Item], bool]
) -> dict[str, Any]:
    """Content of model.yaml, without figures; `parts`: training items, measured items, whether those chose nothing."""
    training, measured, untouched = parts
    record = json.loads((run / "record.json").read_text())
    spatial = system.size if system.task == "segmentation" else ()
    by_patient = system.split == "patient"
    image = {"name": "image", "dtype": "float32", "shape": ["batch", len(system.channels), *system.size]}
    logits = {"name": "logits", "dtype": "float32", "shape": ["batch", len(system.classes), *spatial]}
    return {
        "name": system.name,
        "version": version,
        "task": system.task,
        "description": f"Published system {system.row}: {system.network} on {DATA[system.data]['name']}",
        "licence": _LICENCE[system.data],
        "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
        "inputs": [{**image, "channels": [{"name": name} for name in system.channels]}],
        "outputs": [{**logits, "activation": system.activation, "classes": list(system.classes)}],
        "preprocessing": {"name": system.inputs},
        "labels": labels(system) if system.task == "segmentation" else [],
        "training": {
            "data": [{**DATA[system.data], "patients": len({item.group for item in training})}],
            "split": {
                "by": system.split,
                "held_out": sorted({item.group if by_patient else item.name for item in measured}),
                "note": "chose nothing" if untouched else "the held-out items also chose the checkpoint",
            },
            "recipe": system.name,
            "system": json.loads(json.dumps(asdict(system), default=dict)),
            "data_digest": record["data_digest"],
            "libraries": record["libraries"],
            "epochs": len(record["history"]),
        },
        "accuracy": [],
        "intended_use": INTENDED_USE,
        "reference_inputs": "reference.npz",
    }


def labels(system: System) -> list[dict[str, Any]]:
    """Segments of the system's classes; tumour regions have the code of a neoplasm and their own name and colour."""
    if system.data == "lits":
        return LABELS["liver"]
    template = LABELS["lgg"][0]
    return [
        {**template, "number": number, "name": name, "colour": colour, "type": NEOPLASM, "anatomic_region": BRAIN}
        for number, (name, colour) in enumerate(zip(system.classes, _COLOURS, strict=False), start=1)
    ]


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


def _write(folder: Path, content: dict[str, Any], difference: float) -> None:
    (folder / "model.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))
    (folder / "MODEL_CARD.md").write_text(_card(content, difference))


def _card(content: dict[str, Any], difference: float) -> str:
    training = content["training"]
    return "\n".join(
        [
            f"# {content['name']} {content['version']}\n",
            f"{content['description']}.\n\n**Intended use.** {content['intended_use']}\n",
            f"Trained with `scanward train {training['recipe']}` for {training['epochs']} epochs; split by "
            f"{training['split']['by']}, {training['split']['note']}. {content['licence']}. "
            f"Largest difference of a logit from torch: {difference:.1e}.\n",
            "Measured on what was held out, with the engine that serves; 95 % intervals by bootstrap over patients.\n",
            "| Figure | Value | 95 % interval | n |\n|---|---|---|---|",
            *(_row(entry) for entry in content["accuracy"]),
            "",
        ]
    )


def _row(entry: dict[str, Any]) -> str:
    interval = "" if entry["ci95"] is None else f"{entry['ci95'][0]:.3f} to {entry['ci95'][1]:.3f}"
    return f"| {entry['metric']} | {entry['value']:.3f} | {interval} | {entry['n']} |"
