"""From the queue to the workers and back: claim by priority, submit, record the result."""

from __future__ import annotations

import hashlib
from collections import deque
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from daemon.identity import WORKER
from daemon.jobs.assembly import routing_facts
from daemon.jobs.disk_space import DiskSpaceWait
from daemon.workers.task import DiskFull, Failed, Finished, TaskResult, WorkerLost
from db.errors import BadRequest, DatabaseUnavailable
from db.reasons import REFUSED, RESULTS_UNUSABLE, code_named, code_of
from db.records import JobOutcome, NewMeasurement, NewResult, ResultFormat
from db.states import ResultKind
from pipelines.job import EngineChoice, JobDescription, JobSeries, Outcome, UnusableImage
from pipelines.registry import model_digest, packages_for, pipeline_named
from pipelines.series_notes import notes_on_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daemon.config import Config
    from daemon.workers.pool import WorkerPool
    from db import records
    from db.database import Database
    from db.records import ClaimedJob
    from engines.contract import EngineSettings
    from pipelines.specifications import Pipeline

log = structlog.get_logger(__name__)


class Dispatcher:
    """Keeps the workers busy. `step` records the results that are there and submits jobs to free workers.

    Args:
        database: Where the rows are.
        pool: The workers.
        config: Destinations and folders.
        settings: How engines are to run.
        on_computed: Told when there are new results to deliver.
    """

    def __init__(
        self,
        database: Database,
        pool: WorkerPool,
        config: Config,
        settings: EngineSettings,
        *,
        on_computed: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._pool = pool
        self._config = config
        self._settings = settings
        self._on_computed = on_computed
        self._formats = formats_of(config)
        self._disk = DiskSpaceWait(config.outbox_dir)
        # Both survive a step that fails half-way (database or scheduler not available): a claimed job must not be lost
        # before it is submitted, nor a result before it is recorded.
        self._claimed: deque[ClaimedJob] = deque()
        self._unrecorded: deque[TaskResult] = deque()

    def step(self) -> bool:
        """One round; True when something moved."""
        self._unrecorded.extend(self._pool.collect_results())
        moved = self._record_all()
        while self._claim():
            self._submit(self._claimed[0])
            self._claimed.popleft()
            moved = True
        self._drop_cancelled()
        return moved

    def _record_all(self) -> bool:
        moved = bool(self._unrecorded)
        while self._unrecorded:
            self._record_result(self._unrecorded[0])
            self._unrecorded.popleft()
        return moved

    def _claim(self) -> bool:
        """Whether there is a job to submit, and a worker for it."""
        if not self._claimed and self._disk.is_over and self._pool.free > 0:
            job = self._database.jobs.claim(WORKER, datetime.now(UTC))
            self._claimed.extend([job] if job else [])
        return bool(self._claimed)

    def _submit(self, job: ClaimedJob) -> None:
        try:
            pipeline = pipeline_named(job.pipeline)
            if job.model_digest != model_digest(pipeline, packages_for(pipeline, self._config.models)):
                self._replace_job(job)
                return
            description = self.describe(job)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # a missing model package must fail this job with its reason and stop no other
            log.exception("job_start_failed", job_id=job.id)
            self._fail(job.id, str(error), code_of(error))
            return
        log.info("job_started", job_id=job.id, pipeline=job.pipeline, priority=str(job.priority), attempt=job.attempts)
        self._pool.submit(description)

    def _replace_job(self, job: ClaimedJob) -> None:
        """The model packages were replaced since the job was made: its digest would lie about what ran."""
        log.info("models_replaced", job_id=job.id)
        with suppress(BadRequest):  # it is on its way to the rules already
            self._database.studies.reroute(job.study_uid, "the models were replaced")
        with suppress(BadRequest):  # the new job was quicker, and has superseded it
            self._database.jobs.cancel(job.id, "the models were replaced since it was made; a new job takes its place")

    def describe(self, job: ClaimedJob) -> JobDescription:
        """The job as a worker sees it."""
        pipeline = pipeline_named(job.pipeline)
        packages = packages_for(pipeline, self._config.models)
        wanted = [self._config.destinations[name] for name in job.send_to if name in self._config.destinations]
        encodings: set[Literal["BINARY", "LABELMAP"]] = {destination.segmentation for destination in wanted}
        return JobDescription(
            job_id=str(job.id),
            pipeline=job.pipeline,
            inputs={role: tuple(str(file.path) for file in files) for role, files in job.inputs.items()},
            inputs_digest=job.inputs_digest,
            model_digest=job.model_digest,
            models={slot: EngineChoice(str(package.folder), self._settings) for slot, package in packages.items()},
            output=str(self._config.outbox_dir / str(job.id)),
            created=job.created_at,
            largest_inflated=self._config.limits.inflated,
            series={role: JobSeries(uid, job.descriptions.get(role, "")) for role, uid in job.roles.items()},
            study_images=job.images,
            lost=tuple(map(_lost, job.lost)),
            lenient=self._config.assembly.lost_images == "lenient",
            segmentations=tuple(sorted(encodings)) or ("BINARY",),
            key_images=not wanted or any(destination.key_images for destination in wanted),
            notes=self._remarks(job, pipeline),
        )

    def _remarks(self, job: ClaimedJob, pipeline: Pipeline) -> tuple[str, ...]:
        """Notes on the series, with all that is known of the study: a worker sees one series of it only."""
        if pipeline.phase is None:
            return ()
        recorded = self._database.studies.contents(job.study_uid)
        series_of = {file.path: one.series_instance_uid for one in recorded.series for file in one.instances}
        roles = {role: series_of.get(files[0].path, "") for role, files in job.inputs.items()}
        return notes_on_series(routing_facts(recorded), pipeline, roles)

    def _record_result(self, result: TaskResult) -> None:
        job_id = int(result.job_id)
        try:
            match result:
                case Finished(outcome=outcome) if outcome.refused:
                    log.info("job_refused", job_id=job_id, reason=outcome.refused)
                    self._database.jobs.refuse(job_id, outcome.refused, code=code_named(outcome.refused_as) or REFUSED)
                case Finished(outcome=outcome):
                    self._database.jobs.finish(job_id, self._outcome(job_id, outcome))
                    self._on_computed()
                    self._disk.end()
                    log.info("job_computed", job_id=job_id, seconds=dict(outcome.seconds))
                case Failed(reason=reason, kind=kind):
                    log.error("job_failed", job_id=job_id, reason=reason)
                    self._database.jobs.fail(job_id, reason, code=code_named(kind))
                case DiskFull(reason=reason):
                    log.error("disk_full", job_id=job_id, reason=reason, instead="the job waits until there is space")
                    self._disk.begin()
                    self._database.jobs.postpone(job_id, f"waits for disk space: {reason}")
                case WorkerLost(reason=reason):
                    log.warning("worker_lost", job_id=job_id, reason=reason)
                    self._database.jobs.worker_lost(job_id, reason)
        except BadRequest as error:  # cancelled or superseded while it ran: its result is not needed any more
            log.info("result_discarded", job_id=job_id, reason=str(error))
        except DatabaseUnavailable:
            raise
        except Exception as error:  # its files are gone, for example: this fails one job and stops no other
            log.exception("result_unusable", job_id=job_id)
            reason = f"its results cannot be used: {type(error).__name__}: {error}"
            self._fail(job_id, reason, RESULTS_UNUSABLE)

    def _fail(self, job_id: int, reason: str, code: str) -> None:
        try:
            self._database.jobs.fail(job_id, reason, code=code)
        except BadRequest as error:  # cancelled or superseded meanwhile
            log.info("failure_discarded", job_id=job_id, reason=str(error))

    def _outcome(self, job_id: int, outcome: Outcome) -> JobOutcome:
        send_to = self._database.jobs.get(job_id).send_to
        return JobOutcome(
            results=tuple(self._results(outcome, send_to)),
            measurements=tuple(
                NewMeasurement(
                    subject="" if figure.tracking_id == "Study" else figure.tracking_id,
                    quantity=figure.name,
                    value=figure.value,
                    unit=figure.unit,
                    tracking_uid=figure.tracking_uid,
                    label=figure.label,
                )
                for figure in outcome.measurements
            )
            + ((NewMeasurement(subject="", quantity="Answer", text=outcome.answer),) if outcome.answer else ()),
            models=dict(outcome.models),
            engines=dict(outcome.engines),
            timings=dict(outcome.seconds),
            summary=outcome.summary,
            notes=outcome.notes,
            read={role: asdict(read) for role, read in outcome.read.items()},
        )

    def _results(self, outcome: Outcome, send_to: tuple[str, ...]) -> Iterator[NewResult]:
        for result in outcome.results:
            path = Path(result.path)
            yield NewResult(
                kind=ResultKind(result.kind),
                name=path.name,
                path=path,
                size=path.stat().st_size,
                content_digest=_digest(path),
                sop_class_uid=result.sop_class_uid,
                sop_instance_uid=result.sop_instance_uid,
                series_instance_uid=result.series_instance_uid,
                encoding=result.encoding or "",
                destinations=tuple(name for name in send_to if self._wants(name, result.kind, result.encoding)),
            )
        for picture in outcome.pictures:
            path = Path(picture)
            yield NewResult(
                kind=ResultKind.OVERLAY,
                name=path.name,
                path=path,
                size=path.stat().st_size,
                content_digest=_digest(path),
                destinations=(),
            )

    def _wants(self, name: str, kind: str, encoding: str | None) -> bool:
        wanted = self._formats.get(name)  # None: removed from the configuration meanwhile; the delivery says so
        return wanted is None or wanted.takes(ResultKind(kind), encoding or "")

    def _drop_cancelled(self) -> None:
        """Stops workers whose job was cancelled or superseded, by this daemon or by `scanward jobs cancel`."""
        running = [int(job_id) for job_id in self._pool.running]
        for job_id in running:
            if not self._database.jobs.is_running(job_id):
                log.info("job_stopped", job_id=job_id)
                self._pool.cancel(str(job_id))

    def notice(self) -> str:
        """What a person should know about it; '' for nothing."""
        return "" if self._disk.is_over else "no job is started: the disk is full"

    def stop(self) -> None:
        """Records the results that are there; jobs that still run go back to the queue for the next daemon."""
        self._unrecorded.extend(self._pool.collect_results())
        self._record_all()
        for job_id in (*map(int, self._pool.running), *(job.id for job in self._claimed)):
            with suppress(BadRequest):  # cancelled or superseded meanwhile
                self._database.jobs.release(job_id, "the daemon was stopped")


def formats_of(config: Config) -> dict[str, ResultFormat]:
    """What each destination takes of the results."""
    return {
        name: ResultFormat(encoding=destination.segmentation, key_images=destination.key_images)
        for name, destination in config.destinations.items()
    }


def _lost(image: records.LossRow) -> UnusableImage:
    """What the database knows of a lost image, as a worker needs it: no name of a file, which may name a patient."""
    return UnusableImage(
        kind=str(image.kind),
        reason=image.reason,
        series_uid=image.series_instance_uid,
        sop_uid=image.sop_instance_uid,
        number=image.number,
        position=image.position,
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
