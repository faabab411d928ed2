"""Warm-up of a worker: each pipeline runs once on a tiny phantom, so that the first study finds everything loaded.

Opening the engines is not all: the first encoding reads highdicom's tables, the first picture a font, the first image a
decoder. Together that is more than a second, which the first study after a start would wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import structlog

from engines.packages.package import load_package
from pipelines.job import JobDescription
from pipelines.phantoms.dicom import write_phantom
from pipelines.registry import model_digest, pipeline_named

if TYPE_CHECKING:
    from pipelines.job import EngineChoice, ModelChoices
    from pipelines.worker import JobRunner

log = structlog.get_logger(__name__)


def open_engines(runner: JobRunner, choices: ModelChoices) -> None:
    """Opens every network, which builds the plans that are not stored yet; a fault is logged here too."""
    for name, models in choices.items():
        for choice in models.values():
            try:
                runner.network_of(choice)
            except Exception as error:
                log.warning("engine_not_opened", pipeline=name, error=type(error).__name__, reason=str(error))


def run_on_phantoms(runner: JobRunner, choices: ModelChoices) -> None:
    """Runs every pipeline once; a fault is logged here, and reported by the job that meets it."""
    for name, models in choices.items():
        try:
            with TemporaryDirectory(prefix="scanward-warm-up-") as folder:
                _run_once(runner, name, models, Path(folder))
        except Exception as error:
            log.warning("warm_up_failed", pipeline=name, error=type(error).__name__, reason=str(error))


def _run_once(runner: JobRunner, name: str, models: Mapping[str, EngineChoice], folder: Path) -> None:
    scans = folder / "dicom"
    write_phantom(name, scans, slices=12, matrix=128, glioma=False)  # a whole brain in 3D would take too long for this
    pipeline = pipeline_named(name)
    packages = {slot: load_package(Path(choice.folder)) for slot, choice in models.items()}
    outcome = runner.run(
        JobDescription(
            job_id=f"warm-up-{name}",
            pipeline=name,
            inputs={series.name: tuple(map(str, sorted(series.glob("*.dcm")))) for series in scans.iterdir()},
            inputs_digest="warm-up",
            model_digest=model_digest(pipeline, packages),
            models=models,
            output=str(folder / "out"),
            created=datetime.now(UTC),
        )
    )
    log.info("warmed_up", pipeline=name, found=outcome.summary or outcome.refused, seconds=dict(outcome.seconds))
