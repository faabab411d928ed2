"""What a worker process does: a plain job description comes in, a plain outcome goes out. It knows no database."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from dicomio.errors import BadInput
from dicomio.files.inflate import LARGEST_INFLATED
from dicomio.volumes.content_refusals import PatientsDiffer
from dicomio.volumes.patient import SamePatientCheck
from dicomio.volumes.volume import Volume, load_volume
from engines.contract import EngineSettings
from engines.packages.package import load_package
from pipelines.completeness import (
    JobSeries,
    LostImage,
    SeriesRead,
    also_known,
    losses_of,
    notes,
    refusal,
    series_read,
    told_read,
)
from pipelines.errors import ModelsDiffer
from pipelines.networks import EnginePool, Network, Networks, Progress, silent
from pipelines.registry import model_digest, pipeline_named
from pipelines.results.encode import encode_results, inheritance_notes
from pipelines.results.summary import headline, summary_line
from pipelines.results.writer import ResultFile, tracking_uid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engines.packages.package import ModelPackage
    from pipelines.findings import Findings, Region

log = structlog.get_logger(__name__)

_POOL = EnginePool()
_PACKAGES: dict[str, ModelPackage] = {}
_OWN_GPU: list[int] = []  # of this process; empty for "as the job says"


@dataclass(frozen=True)
class EngineChoice:
    """A model package (its folder) and how to run it."""

    folder: str
    settings: EngineSettings


@dataclass(frozen=True)
class JobDescription:
    """Everything that a worker needs to know; plain values, so that it can travel to another machine.

    Attributes:
        inputs: Role -> files of the series that fills it.
        inputs_digest: Digest of what the files hold; result UIDs derive from it and `model_digest`.
        models: Slot -> model package and engine.
        segmentations: Encodings that the destinations want.
        output: Folder for the results; is made, and cleared of an earlier try's.
        largest_inflated: Bytes that a deflated image may inflate to.
        created: When the job was made: the date of the results, the same in every try.
        series: Role -> the series that fills it.
        study_images: Images of the whole study.
        lost: What came for the study and could not be used.
        lenient: The job runs although its series lost images, and says so; else it is refused.
        notes: What a reader must know of the series that were chosen (`pipelines.remarks`).
    """

    job_id: str
    pipeline: str
    inputs: Mapping[str, tuple[str, ...]]
    inputs_digest: str
    model_digest: str
    models: Mapping[str, EngineChoice]
    output: str
    created: datetime
    segmentations: tuple[Literal["BINARY", "LABELMAP"], ...] = ("BINARY",)
    key_images: bool = True
    largest_inflated: int = LARGEST_INFLATED
    series: Mapping[str, JobSeries] = field(default_factory=dict)
    study_images: int = 0
    lost: tuple[LostImage, ...] = ()
    lenient: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """One figure for the database: of which thing ("Study" for the whole), what, how much, in which UCUM unit."""

    tracking_id: str
    name: str
    value: float
    unit: str
    tracking_uid: str = ""
    label: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a job: results, or `refused` with the reason that a technologist understands.

    Attributes:
        refused_as: Name of the refusal's class, such as "UnevenSpacing".
        answer: What the study as a whole shows: one of `pipelines.findings.Answer`, '' without findings.
        headline: The same for people, with the question.
        read: Role to how much of its series was read.
        told_read: The same in a sentence.
    """

    job_id: str
    refused: str | None = None
    refused_as: str = ""
    results: tuple[ResultFile, ...] = ()
    pictures: tuple[str, ...] = ()
    measurements: tuple[Measured, ...] = ()
    answer: str = ""
    headline: str = ""
    summary: str = ""
    notes: tuple[str, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    read: Mapping[str, SeriesRead] = field(default_factory=dict)
    told_read: str = ""


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


def perform(job: JobDescription, report: Progress = silent) -> Outcome:
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
            return _refused(job, f"{error}{also_known(known)}", type(error).__name__, clock)
        lost = losses_of(job, [volume.series_instance_uid for volume in volumes.values()])
        if lost and not job.lenient:
            log.info("input_refused", lost_images=len(lost))
            return _refused(job, refusal(lost, volumes), "LostImages", clock)
        with clock.step("engines"):
            networks = networks_of(job)
        with clock.step("infer"):
            findings = pipeline.run(volumes, networks, report)
            read = series_read(job, volumes)
            told = (*notes(job, lost, volumes), *job.notes, *left_out, *findings.notes)
            told += inheritance_notes(findings.volume)
            findings = replace(findings, notes=told, read=told_read(job, read))
        with clock.step("encode"):
            others = tuple(volume for volume in volumes.values() if volume is not findings.volume)
            results, pictures = encode_results(findings, pipeline, job, report, others=others)
        outcome = _outcome(job, findings, results, pictures, clock)
        return replace(outcome, read=read, told_read=findings.read)


def _refused(job: JobDescription, reason: str, code: str, clock: _Clock) -> Outcome:
    return Outcome(job.job_id, refused=reason, refused_as=code, seconds=clock.seconds)


def load(job: JobDescription, report: Progress) -> tuple[dict[str, Volume], tuple[str, ...]]:
    """The volumes by role, and notes on those left out: a required one must be good, an optional one need not be.

    Raises:
        PatientsDiffer: A series, optional or not, is of somebody else: which of them is the right one, nobody knows.
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


def networks_of(job: JobDescription) -> Networks:
    """The networks by slot: those that the job was made for, whatever this process or machine has at hand.

    Raises:
        ModelsDiffer: The packages here are other ones; results would name a model that did not make them.
    """
    pipeline = pipeline_named(job.pipeline)
    for attempt in range(2):
        packages = {slot: _package(choice) for slot, choice in job.models.items()}
        if model_digest(pipeline, packages) == job.model_digest:
            return Networks(packages, lambda package, slot: _network(package, job.models[slot]))
        if attempt == 0:  # replaced since this process read them
            for choice in job.models.values():
                _PACKAGES.pop(choice.folder, None)
    raise ModelsDiffer(pipeline=job.pipeline, folders=tuple(choice.folder for choice in job.models.values()))


def take_gpu(number: int | None) -> None:
    """Jobs of this process run on that GPU from now on, whatever their settings say; None: as they say."""
    _OWN_GPU[:] = [] if number is None else [number]


def network_of(choice: EngineChoice) -> Network:
    """The network of a package, opened if this process has not opened it yet."""
    return _network(_package(choice), choice)


def close_engines() -> None:
    """Frees what this process keeps for its next job: its engines, and with them memory of a GPU."""
    _POOL.close()


def _package(choice: EngineChoice) -> ModelPackage:
    package = _PACKAGES.get(choice.folder)
    if package is None:
        package = _PACKAGES[choice.folder] = load_package(Path(choice.folder))
    return package


def _network(package: ModelPackage, choice: EngineChoice) -> Network:
    settings = choice.settings.model_copy(update={"gpu": _OWN_GPU[0]}) if _OWN_GPU else choice.settings
    return _POOL.network(package, settings)


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


def _measurements(findings: Findings, job: JobDescription) -> Iterator[Measured]:
    for answer in findings.classifications:
        yield Measured("Study", f"Probability: {answer.question}", answer.probability, "1")
    for name, (value, unit) in findings.totals.items():
        yield Measured("Study", name, value, unit)
    for region in findings.regions:
        for quantity, value, unit in _figures(region):
            uid = tracking_uid(job.inputs_digest, job.model_digest, region.tracking_id)
            yield Measured(region.tracking_id, quantity, value, unit, tracking_uid=uid, label=region.label.name)


def _figures(region: Region) -> Iterator[tuple[str, float, str]]:
    yield "Volume", region.volume_ml, "mL"
    if region.diameters is not None:
        yield "Axial diameter", region.diameters.axial_mm, "mm"
        yield "Coronal diameter", region.diameters.coronal_mm, "mm"
        yield "Sagittal diameter", region.diameters.sagittal_mm, "mm"
    for axis, value in zip("XYZ", region.centroid_lps, strict=True):
        yield f"Centroid {axis}", value, "mm"
