"""The pipelines there are, the model packages that fill their slots, and the digest that stands for both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import ModelMissing, UnknownPipeline
from pipelines.specifications import ABDOMEN_CT, BRAIN_MR, Pipeline

if TYPE_CHECKING:
    from engines.packages.package import ModelPackage
    from pipelines.rules.derived.kinds import Phase

VERSION = "3"
"""Goes into every result's identity: raise it when a pipeline would find something else with the same networks."""

USED = {"inputs", "outputs", "preprocessing", "thresholds", "labels", "variants", "calibration"}
"""What of a package goes into it, beside its network."""


PIPELINES: Mapping[str, Pipeline] = {pipeline.name: pipeline for pipeline in (BRAIN_MR, ABDOMEN_CT)}


def pipeline_named(name: str) -> Pipeline:
    """A pipeline by name; raises UnknownPipeline."""
    if name not in PIPELINES:
        raise UnknownPipeline(name=name, known=tuple(PIPELINES))
    return PIPELINES[name]


def phase_of(name: str) -> Phase | None:
    """The contrast phase that a pipeline's networks know; None where it does not matter, or nothing has that name."""
    pipeline = PIPELINES.get(name)
    return pipeline.phase if pipeline else None


def packages_for(pipeline: Pipeline, folders: tuple[Path, ...]) -> dict[str, ModelPackage]:
    """Slot -> model package; those that the pipeline can do without only where they are installed.

    Raises:
        ModelMissing: One is not there that the pipeline needs.
        PackageError: What is wrong with a package, optional ones too: nobody installs a broken one on purpose.
    """
    from pipelines.packages import check_volume_input, package_named

    packages = {slot: package_named(name, folders) for slot, name in pipeline.models.items()}
    for slot, name in pipeline.optional_models.items():
        with suppress(ModelMissing):
            packages[slot] = package_named(name, folders)
    for slot, needed in pipeline.volume_inputs.items():
        if slot in packages:
            check_volume_input(packages[slot], needed)
    return packages


def model_digest(pipeline: Pipeline, packages: Mapping[str, ModelPackage]) -> str:
    """Digest of everything but the images that decides what is found: pipeline, networks, and how they are used."""
    parts = [pipeline.name, VERSION]
    for slot in sorted(packages):
        manifest = packages[slot].manifest
        use = manifest.model_dump_json(include=USED)
        parts += [slot, packages[slot].digest, use]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
