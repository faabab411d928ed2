"""The model packages that pipelines run: where they are found by name, and whether one fits its slot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import PackageInvalid
from engines.packages.manifest import shape_fits
from engines.packages.package import MANIFEST, ModelPackage, find_packages, load_package, shipped_folder
from pipelines.errors import ModelMissing

if TYPE_CHECKING:
    from pipelines.specifications import VolumeInput


def packages_in(folders: tuple[Path, ...]) -> Mapping[str, ModelPackage]:
    """The shipped packages and those of the hospital's own folders, by name; a hospital's wins over a shipped one."""
    found = dict(find_packages(shipped_folder()))
    for folder in folders:
        found |= find_packages(folder)
    return found


def package_named(name: str, folders: tuple[Path, ...]) -> ModelPackage:
    """One package by name.

    Raises:
        ModelMissing: There is none of that name, neither shipped nor in `folders`.
    """
    for folder in (*reversed(folders), shipped_folder()):
        if (folder / name / "model.yaml").is_file():
            return load_package(folder / name)
    raise ModelMissing(name=name, folders=tuple(str(folder) for folder in (*folders, shipped_folder())))


def check_volume_input(package: ModelPackage, needed: VolumeInput) -> None:
    """Whether a network takes the volume that its pipeline prepares, and answers for all of it.

    Raises:
        PackageInvalid: Its input or its output has another shape.
    """
    manifest = package.manifest
    shown, given = len(manifest.preprocessing.neighbours), manifest.inputs[0].shape
    wanted = (shown * needed.channels, *needed.shape[1:]) if shown else (needed.channels, *needed.shape)
    if not shape_fits((1, *wanted), given):
        whole = f"a whole {needed.organ} of {needed.sequences} is"
        what = f"{shown} slices of {needed.sequences} are" if shown else whole
        problem = f"{what} shown as {['batch', *wanted]}, received {list(given)}"
        raise PackageInvalid(file=package.folder / MANIFEST, key="inputs.0.shape", problem=problem)
    answered = manifest.outputs[0].shape
    if not shape_fits((1, len(manifest.outputs[0].classes), *wanted[1:]), answered):
        problem = f"expected [batch, classes, ...] of the input's size {list(wanted[1:])}, received {list(answered)}"
        raise PackageInvalid(file=package.folder / MANIFEST, key="outputs.0.shape", problem=problem)
