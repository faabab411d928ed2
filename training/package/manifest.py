"""model.yaml of a package that is made from runs, and the reference inputs beside it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data import dataset
from training.data.dataset import Parts
from training.evaluate.figures import Figure
from training.experiment import Experiment
from training.package.descriptions import describe
from training.package.sources import DATA, LICENCES, data_of, inherited_of, licence_of

INTENDED_USE = (
    "Research and teaching. Not a medical device: no finding of this network may be used for diagnosis or treatment."
)
CALIBRATION = "calibration.json"
REFERENCE = "reference.npz"


def forget_variants(folder: Path) -> None:
    """Removes what makes other precisions from a package that is about to be written anew: it is of old weights."""
    for path in (*folder.glob("model.*.onnx"), *folder.glob("model.*.zip"), folder / CALIBRATION):
        path.unlink(missing_ok=True)


def write_reference(folder: Path, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """`reference.npz`, which numpy reads as any other: packed by LZMA, 0.5 to 0.8 of what its own writer makes."""
    with zipfile.ZipFile(folder / REFERENCE, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)


def manifest(  # noqa: PLR0917 - a description has many sources
    experiments: Sequence[Experiment],
    records: Sequence[Mapping[str, Any]],
    network: bytes,
    version: str,
    parts: Parts,
    image: tuple[int, ...],
) -> dict[str, Any]:
    """Content of model.yaml, without figures.

    Args:
        experiments: What was trained, one for each run; the first one names the package.
        records: Content of the `record.json` of each run.
        network: The ONNX file.
        version: Version of the package.
        parts: The data set.
        image: (channels, ...) of what the network takes.
    """
    first, said = experiments[0], describe(experiments[0])
    spatial = image[1:] if first.task == "segmentation" else ()
    channels = [_channel(name, said.fallback) for name in input_channels(first)]
    logits = {"name": "logits", "dtype": "float32", "shape": ["batch", len(first.classes), *spatial]}
    seen = {"neighbours": list(first.neighbours)} if first.neighbours else {}
    return {
        "name": first.package_name,
        "version": version,
        "task": first.task,
        "description": said.summary,
        "licence": licence_of(LICENCES[first.data], inherited_of(records)),
        "sha256": hashlib.sha256(network).hexdigest(),
        "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", *image], "channels": channels}],
        "outputs": [{**logits, "activation": first.activation, "classes": list(first.classes)}],
        "preprocessing": {"name": first.inputs, **said.preprocessing, **seen},
        "labels": said.labels,
        "thresholds": {"mask": 0.5, "probability": 0.5, **said.thresholds},
        "training": _training(experiments, records, parts),
        "accuracy": [],
        "intended_use": INTENDED_USE,
        "reference_inputs": REFERENCE,
    }


def _channel(name: str, fallback: Mapping[str, str]) -> dict[str, str]:
    return {"name": name, "fallback": fallback[name]} if name in fallback else {"name": name}


def input_channels(experiment: Experiment) -> list[str]:
    """Names of the channels that a served network sees: those of each slice that it sees, one after the other."""
    if not experiment.neighbours:
        return list(experiment.channels)
    where = {0: "", **{k: f"_{abs(k)}_{'below' if k < 0 else 'above'}" for k in experiment.neighbours if k}}
    return [f"{name}{where[k]}" for k in experiment.neighbours for name in experiment.channels]


def _training(experiments: Sequence[Experiment], records: Sequence[Mapping[str, Any]], parts: Parts) -> dict[str, Any]:
    first, initial = experiments[0], [record.get("initial") for record in records]
    trained_on, more = len({unit.group for unit in parts.training}), max(record.get("more") or 0 for record in records)
    return {
        "data": data_of(experiments, trained_on, more, inherited_of(records)),
        "split": {
            "by": first.split,
            "held_out": dataset.names(first, parts.measured),
            "note": _note(first, records, parts),
        },
        "phantoms": any(record.get("phantoms") for record in records),
        "recipe": first.name,
        "experiment": _written(first),
        **({"others": [_written(other) for other in experiments[1:]]} if experiments[1:] else {}),
        "trained_as": records[0]["experiment"]["name"],
        "networks": len(records),
        **({"initial": initial} if any(initial) else {}),
        "minutes": round(sum(_minutes(record) for record in records), 1),
        "epochs": sum(len(record["history"]) for record in records),
        "data_digest": records[0]["data_digest"],
        "libraries": records[0]["libraries"],
        "commit": _commit(),
    }


def _minutes(record: Mapping[str, Any]) -> float:
    """Of training that are behind a run's weights; those that were solved for took none."""
    return float(record["history"][-1].get("minutes", 0.0)) + float(record.get("before", 0.0))


def _written(experiment: Experiment) -> dict[str, Any]:
    """As YAML writes it."""
    written: dict[str, Any] = json.loads(json.dumps(asdict(experiment), default=dict))
    return written


_CHOSE = {
    ("best", "best"): "they also chose the checkpoint and the threshold",
    ("best", "last"): "they chose the threshold, and no checkpoint",
    ("last", "best"): "they chose the checkpoint of one of the runs; the threshold was fixed beforehand",
    ("last", "last"): "they chose nothing: the last weights, and a threshold fixed beforehand",
}
"""How the threshold was fixed and how checkpoints were, `best` by what was held out, to what the card says of it."""


def _note(experiment: Experiment, records: Sequence[Mapping[str, Any]], parts: Parts) -> str:
    """What those that figures are of have chosen before."""
    if parts.test:
        return "they chose nothing"
    kept = "last" if all(record["experiment"]["keep"] == "last" for record in records) else "best"
    note = _CHOSE[experiment.keep, kept]
    started = any(record.get("initial") for record in records)
    return f"{note}; they may have chosen the weights that it started from" if started and kept == "last" else note


def accuracy(experiment: Experiment, figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """`accuracy` in model.yaml: the figures that are defined."""
    dataset = f"{DATA[experiment.data]['name']}, held out by {experiment.split}"
    return [entry_of(figure, dataset) for figure in figures if isfinite(figure.value)]


def entry_of(figure: Figure, dataset: str) -> dict[str, Any]:
    """An entry of `accuracy` in model.yaml, measured on `dataset`; no interval where none is finite."""
    interval = [round(bound, 4) for bound in figure.interval] if figure.interval else None
    return {
        "metric": figure.metric,
        "value": round(figure.value, 4),
        "dataset": dataset,
        "n": figure.n,
        "ci95": interval if interval and all(map(isfinite, interval)) else None,
    }


def _commit() -> str:
    """The commit that the code was at, if this is a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:  # no git here
        return "unknown"
    return found.stdout.strip() or "unknown"
