"""What a worker process does: a job description comes in, an outcome goes out. It has no access to the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Self

import structlog

from dicomio.errors import BadInput
from dicomio.volumes.patient import SamePatientCheck
from dicomio.volumes.refusals.content import PatientsDiffer
from dicomio.volumes.volume import Volume, load_volume
from engines.packages.package import load_package
from pipelines.completeness import (
    completeness_notes,
    describe_read,
    losses_of,
    mention_lost,
    refusal_reason,
    series_read,
)
from pipelines.errors import ModelsDiffer
from pipelines.job import JobDescription, NumericResult, Outcome
from pipelines.networks import EnginePool, Network, Networks, Progress, no_progress
from pipelines.registry import model_digest, pipeline_named
from pipelines.results.encode import encode_results, inheritance_notes
from pipelines.results.summary import headline, summary_line
from pipelines.results.writer import tracking_uid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engines.packages.package import ModelPackage
    from pipelines.findings import Findings, Region
    from pipelines.job import EngineChoice, ResultFile
    from pipelines.specifications import Pipeline

log = structlog.get_logger(__name__)

RunPipeline = Callable[[Mapping[str, Volume], Mapping[str, Network], Progress], "Findings"]


class _Clock:
    """Seconds spent per step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 4)


class JobRunner:
    """Runs jobs one after the other, and keeps model packages and engines open between them.

    A context manager: everything is opened when it is first needed and closed on exit.

    Args:
        gpu: The GPU that jobs run on, whatever their settings say; None: the one of their settings.
    """

    def __init__(self, gpu: int | None = None) -> None:
        self.gpu = gpu
        self._engines = EnginePool()
        self._packages: dict[str, ModelPackage] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the engines, and with them frees memory of a GPU; what is asked for later is opened again."""
        self._engines.close()

    def run(self, job: JobDescription, report: Progress = no_progress) -> Outcome:
        """Runs one job: load, infer and measure, encode.

        Input that cannot be used is an answer (`refused`), not an error; anything else that goes wrong raises.
        """
        clock = _Clock()
        pipeline = pipeline_named(job.pipeline)
        with structlog.contextvars.bound_contextvars(job_id=job.job_id):
            try:
                with clock.step("load"):
                    volumes, left_out = load(job, report)
            except BadInput as error:
                log.info("input_refused", reason=str(error), kind=type(error).__name__)
                known = losses_of(job, [series.uid for series in job.series.values()])
                return _refused(job, f"{error}{mention_lost(known)}", type(error).__name__, clock)
            lost = losses_of(job, [volume.series_instance_uid for volume in volumes.values()])
            if lost and not job.lenient:
                log.info("input_refused", lost_images=len(lost))
                return _refused(job, refusal_reason(lost, volumes), "LostImages", clock)
            with clock.step("engines"):
                networks = self.networks_of(job)
            with clock.step("infer"):
                findings = _code_of(pipeline)(volumes, networks, report)
                read = series_read(job, volumes)
                all_notes = (*completeness_notes(job, lost, volumes), *job.notes, *left_out, *findings.notes)
                all_notes += inheritance_notes(findings.volume)
                findings = replace(findings, notes=all_notes, read=describe_read(job, read))
            with clock.step("encode"):
                others = tuple(volume for volume in volumes.values() if volume is not findings.volume)
                results, pictures = encode_results(findings, pipeline, job, report, others=others)
            outcome = _outcome(job, findings, results, pictures, clock)
            return replace(outcome, read=read, told_read=findings.read)

    def network_of(self, choice: EngineChoice) -> Network:
        """The network of a package, opened if it is not open yet."""
        return self._network(self._package(choice), choice)

    def networks_of(self, job: JobDescription) -> Networks:
        """The networks by slot: those that the job was made for, whatever packages are on this machine.

        Raises:
            ModelsDiffer: The packages here are other ones; results would name a model that did not make them.
        """
        pipeline = pipeline_named(job.pipeline)
        for attempt in range(2):
            packages = {slot: self._package(choice) for slot, choice in job.models.items()}
            if model_digest(pipeline, packages) == job.model_digest:
                return Networks(packages, lambda package, slot: self._network(package, job.models[slot]))
            if attempt == 0:  # replaced since they were read
                for choice in job.models.values():
                    self._packages.pop(choice.folder, None)
        raise ModelsDiffer(pipeline=job.pipeline, folders=tuple(choice.folder for choice in job.models.values()))

    def _package(self, choice: EngineChoice) -> ModelPackage:
        package = self._packages.get(choice.folder)
        if package is None:
            package = self._packages[choice.folder] = load_package(Path(choice.folder))
        return package

    def _network(self, package: ModelPackage, choice: EngineChoice) -> Network:
        own = {} if self.gpu is None else {"gpu": self.gpu}
        return self._engines.network(package, choice.settings.model_copy(update=own))


def _refused(job: JobDescription, reason: str, code: str, clock: _Clock) -> Outcome:
    return Outcome(job.job_id, refused=reason, refused_as=code, seconds=clock.seconds)


def load(job: JobDescription, report: Progress) -> tuple[dict[str, Volume], tuple[str, ...]]:
    """The volumes by role, and notes on those left out: a required one must be good, an optional one need not be.

    Raises:
        PatientsDiffer: A series, optional or not, is of somebody else: which of them is the right one is not known.
    """
    pipeline = pipeline_named(job.pipeline)
    volumes, left_out, patient = {}, [], SamePatientCheck()
    for number, (role, files) in enumerate(sorted(job.inputs.items())):
        report(f"load {role}", number / len(job.inputs))
        try:
            volumes[role] = load_volume([Path(file) for file in files], patient=patient, largest=job.largest_inflated)
        except PatientsDiffer:
            raise
        except BadInput as error:
            if role in pipeline.roles:
                raise
            log.warning("optional_series_left_out", role=role, reason=str(error))
            left_out.append(f"{role.upper()} could not be used: {error}")
    return volumes, tuple(left_out)


def _code_of(pipeline: Pipeline) -> RunPipeline:
    run: RunPipeline = import_module(pipeline.module).run
    return run


def _outcome(
    job: JobDescription,
    findings: Findings,
    results: tuple[ResultFile, ...],
    pictures: tuple[Path, ...],
    clock: _Clock,
) -> Outcome:
    return Outcome(
        job_id=job.job_id,
        results=results,
        pictures=tuple(str(path) for path in pictures),
        measurements=tuple(_measurements(findings, job)),
        answer=str(findings.answer),
        headline=headline(findings),
        summary=summary_line(findings),
        notes=findings.notes,
        models=findings.models,
        engines=findings.engines,
        seconds=clock.seconds,
    )


def _measurements(findings: Findings, job: JobDescription) -> Iterator[NumericResult]:
    for answer in findings.classifications:
        yield NumericResult("Study", f"Probability: {answer.question}", answer.probability, "1")
    for name, (value, unit) in findings.totals.items():
        yield NumericResult("Study", name, value, unit)
    for region in findings.regions:
        for quantity, value, unit in _region_measurements(region):
            uid = tracking_uid(job.inputs_digest, job.model_digest, region.tracking_id)
            yield NumericResult(region.tracking_id, quantity, value, unit, tracking_uid=uid, label=region.label.name)


def _region_measurements(region: Region) -> Iterator[tuple[str, float, str]]:
    yield "Volume", region.volume_ml, "mL"
    if region.diameters is not None:
        yield "Axial diameter", region.diameters.axial_mm, "mm"
        yield "Coronal diameter", region.diameters.coronal_mm, "mm"
        yield "Sagittal diameter", region.diameters.sagittal_mm, "mm"
    for axis, value in zip("XYZ", region.centroid_lps, strict=True):
        yield f"Centroid {axis}", value, "mm"
