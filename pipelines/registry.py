"""The pipelines there are: what they ask for, which model packages they use by default, what runs them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dicomio.results.coding import Code
from pipelines.errors import ModelMissing, UnknownPipeline
from pipelines.rules.derived.kinds import Phase

if TYPE_CHECKING:
    from dicomio.volumes.volume import Volume
    from engines.packages.package import ModelPackage
    from pipelines.findings import Findings
    from pipelines.networks import Network, Progress

VERSION = "3"
"""Goes into every result's identity: raise it when a pipeline would find something else with the same networks."""

USED = {"inputs", "outputs", "preprocessing", "thresholds", "labels", "variants", "calibration"}
"""What of a package goes into it, beside its network."""


@dataclass(frozen=True)
class Pipeline:
    """One way to read a study.

    Attributes:
        roles: Series that it asks for; the first is the one that the masks lie on.
        optional_roles: Series that help when they are there.
        models: Slot (what a network is for) -> name of the model package that fills it by default.
        optional_models: The same for networks that the pipeline can do without.
        body_part: Body Part Examined of the key images.
        series_number: Series Number of the first result series; results of a pipeline always carry the same ones.
        checks: Slot -> what a package must pass to fill it, beyond being whole; raises PackageError.
        phase: The contrast phase of the images that its networks learnt from; None where it does not matter.
    """

    name: str
    title: str
    roles: tuple[str, ...]
    optional_roles: tuple[str, ...]
    models: Mapping[str, str]
    site: Code
    finding: Code
    body_part: str
    series_number: int
    run: Callable[[Mapping[str, Volume], Mapping[str, Network], Progress], Findings]
    optional_models: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Callable[[ModelPackage], None]] = field(default_factory=dict)
    phase: Phase | None = None

    @property
    def all_models(self) -> dict[str, str]:
        """Slot -> package, of `models` and `optional_models`."""
        return {**self.models, **self.optional_models}


# What runs a pipeline is imported when it runs: commands that only name pipelines start without numpy and SimpleITK.
def _run_brain_mr(volumes: Mapping[str, Volume], networks: Mapping[str, Network], progress: Progress) -> Findings:
    from pipelines.brain.glioma import run

    return run(volumes, networks, progress)


def _run_abdomen_ct(volumes: Mapping[str, Volume], networks: Mapping[str, Network], progress: Progress) -> Findings:
    from pipelines.abdomen.liver import run

    return run(volumes, networks, progress)


def _check_volume_segmenter(package: ModelPackage) -> None:
    from pipelines.brain.by_volume import check_package

    check_package(package)


_VOLUME_SEGMENTER = "volume_segmenter"  # `brain_by_volume.SEGMENTER`

PIPELINES: Mapping[str, Pipeline] = {
    pipeline.name: pipeline
    for pipeline in (
        Pipeline(
            name="brain-mr",
            title="Brain tumour on MR",
            roles=("flair",),
            optional_roles=("t1", "t1ce", "t2"),
            models={"classifier": "brain-lgg-classifier", "segmenter": "brain-lgg-resunet"},
            optional_models={_VOLUME_SEGMENTER: "brain-brats-slices-unet"},
            checks={_VOLUME_SEGMENTER: _check_volume_segmenter},
            site=Code("12738006", "SCT", "Brain"),
            finding=Code("108369006", "SCT", "Neoplasm"),
            body_part="BRAIN",
            series_number=9100,
            run=_run_brain_mr,
        ),
        Pipeline(
            name="abdomen-ct",
            title="Liver and liver tumours on CT",
            roles=("ct",),
            optional_roles=(),
            models={"segmenter": "abdomen-liver-unet"},
            phase=Phase.PORTAL,
            site=Code("10200004", "SCT", "Liver"),
            finding=Code("108369006", "SCT", "Neoplasm"),
            body_part="LIVER",
            series_number=9200,
            run=_run_abdomen_ct,
        ),
    )
}


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
    from pipelines.networks import package_named

    packages = {slot: package_named(name, folders) for slot, name in pipeline.models.items()}
    for slot, name in pipeline.optional_models.items():
        with suppress(ModelMissing):
            packages[slot] = package_named(name, folders)
    for slot, check in pipeline.checks.items():
        if slot in packages:
            check(packages[slot])
    return packages


def model_digest(pipeline: Pipeline, packages: Mapping[str, ModelPackage]) -> str:
    """Digest of everything but the images that decides what is found: pipeline, networks, and how they are used."""
    parts = [pipeline.name, VERSION]
    for slot in sorted(packages):
        manifest = packages[slot].manifest
        use = manifest.model_dump_json(include=USED)
        parts += [slot, packages[slot].digest, use]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
