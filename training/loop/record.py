"""What every run writes down of its surroundings: the data, the libraries, the run that it started from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engines.packages.package import load_package
from training.errors import UnfitError
from training.experiment import Experiment

RECORD = "record.json"
LIBRARIES = ("torch", "lightning", "monai", "numpy", "scanward")


def surroundings(data: Path, trained_on: int, sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a run's record says of these.

    Args:
        data: The data set.
        trained_on: Items of it to train on: pictures, scans or patients.
        sources: What the weights are made from, as of `training.data` in model.yaml.
    """
    return {
        "sources": list(sources),
        "trained_on": trained_on,
        "data_digest": data_digest(data),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


SETTLED = ("experiment", "phantoms", "more", "data_digest")
"""What a run that is taken up again must be given as before."""


def settle(folder: Path, record: Mapping[str, Any], *, resume: bool) -> dict[str, Any]:
    """The record of a run that is about to begin in `folder`, or of the one there that is taken up again.

    Nobody says again what a run started from, so that is kept of the one that is taken up.

    Raises:
        UnfitError: It was given something else than now, or there is nothing to take up but something to lose.
    """
    said: dict[str, Any] = {}
    if resume:
        if not (folder / "last.ckpt").exists() and was_begun(folder):
            raise UnfitError(reason=f"{folder} has no last.ckpt to go on from: start anew in another folder")
        said = _record_if_any(folder)
        now = json.loads(json.dumps(record, default=dict))
        other = [key for key in SETTLED if said and said.get(key) != now.get(key)]
        if other:
            words = f"{folder} was trained with another {', '.join(other)}"
            raise UnfitError(reason=f"{words}: go on as it was begun, or start anew in another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return {**record, **{key: said[key] for key in ("initial", "inherited", "sources", "before") if key in said}}


def beginning(initial: Path | None) -> dict[str, Any]:
    """What a run's record says of the weights that it starts from, and of the data behind them.

    Args:
        initial: Another run's best.pt, or the folder of a package; None for weights of its own.

    Returns:
        `initial`: a package by name and version, weights by the name of their run. `inherited`: entries as of
        `training.data` in model.yaml; what is not known of a run's weights is not there.
    """
    if initial is None:
        return {"initial": None, "inherited": []}
    if initial.is_dir():
        manifest = load_package(initial).manifest
        data = [entry.model_dump(exclude_none=True) for entry in manifest.training.data]
        return {"initial": f"{manifest.name} {manifest.version}", "inherited": data}
    run = initial.resolve().parent
    return {"initial": run.name, "inherited": _record_if_any(run).get("sources", [])}


def was_begun(folder: Path) -> bool:
    """Whether a run in a folder has something to lose; a first epoch cut short leaves nothing."""
    return any((folder / name).exists() for name in ("best.pt", RECORD))


def read_record(folder: Path) -> dict[str, Any]:
    """What a run's record says.

    Raises:
        FileNotFoundError: The folder is no run's, or its first epoch is not over.
    """
    return dict(json.loads((folder / RECORD).read_text()))


def _record_if_any(folder: Path) -> dict[str, Any]:
    return read_record(folder) if (folder / RECORD).exists() else {}


def data_digest(data: Path) -> str:
    """sha256 over the relative paths and sizes of all files: cheap, and it tells one data set from another."""
    digest = hashlib.sha256()
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(data)} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def experiment_of(folder: Path) -> Experiment:
    """The experiment that a run trained, as its record says."""
    return Experiment.of(read_record(folder)["experiment"])


def is_by_slice(folder: Path) -> bool:
    """Whether a folder is a run on prepared slices that was split by slice."""
    said = _record_if_any(folder).get("experiment")
    return said is not None and Experiment.of(said).prepared and said["split"] == "slice"
