"""From images to jobs: a study that is complete is put before the rules, and every route becomes a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

import structlog

from db.digests import inputs_digest
from db.errors import DatabaseUnavailable, InputsChanged
from db.reasons import NOT_ROUTABLE
from db.records import AlreadyExists, Created, JobOrder, ResultFormat
from db.states import LossKind, Priority
from pipelines.registry import model_digest, packages_for, pipeline_named
from pipelines.rules.routing import Route, Unmatched, route
from pipelines.rules.study.grouping import KnownImage, KnownSeries, study_attributes

if TYPE_CHECKING:
    from pathlib import Path

    from db import records
    from db.database import Database
    from pipelines.rules.model import RuleSet
    from pipelines.rules.study.attributes import StudyAttributes

log = structlog.get_logger(__name__)


class Assembly:
    """Completes studies, routes them, makes their jobs. `step` handles whatever is ready.

    Args:
        database: Where the rows are.
        rules: Gives the rules in force; called for every round, so that it may reload them.
        quiet_period: A study is complete when nothing came for this long.
        after_release: If given: also this long after its senders released their associations.
        model_folders: The hospital's own model packages.
        as_of: The moment up to which everything received has its row (`SpoolReader.indexed_until`). What still waits to
            be indexed, because the database was unavailable for example, must not make a study look complete.
        formats: What each destination takes of the results.
        on_created: Told of every new job, which may take the place of others that have to be stopped if they run.
    """

    def __init__(
        self,
        database: Database,
        rules: Callable[[], RuleSet],
        *,
        quiet_period: timedelta,
        after_release: timedelta | None = None,
        model_folders: tuple[Path, ...] = (),
        as_of: Callable[[], datetime] = lambda: datetime.now(UTC),
        formats: Mapping[str, ResultFormat] = MappingProxyType({}),
        on_created: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._rules = rules
        self._quiet_period = quiet_period
        self._after_release = after_release
        self._model_folders = model_folders
        self._as_of = as_of
        self._formats = formats
        self._on_created = on_created

    def step(self) -> bool:
        """Completes and routes every study that need not be waited for; True when there were some."""
        rules = self._rules()
        ready = self._database.studies.to_complete(self._as_of(), self._quiet_period, self._after_release)
        for study in ready:
            self._database.studies.complete(study.study_uid, study.reason)
        for study_uid in self._database.studies.to_route():
            self._try_route(study_uid, rules)
        return bool(ready)

    def _try_route(self, study_uid: str, rules: RuleSet) -> None:
        """Routes a study. One that cannot be routed becomes unmatched, with the reason, and delays no other."""
        try:
            self.route_study(study_uid, rules)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # a model package that is missing or broken, or our own fault
            log.exception("study_routing_failed", study=study_uid)
            self._database.studies.set_unmatched(study_uid, [f"cannot be routed: {error}"], code=NOT_ROUTABLE)

    def route_study(self, study_uid: str, rules: RuleSet) -> None:
        """Puts one complete study before the rules and makes its jobs, or writes down why no rule takes it."""
        recorded = self._database.studies.contents(study_uid)
        match route(routing_facts(recorded), rules):
            case Unmatched(reasons=reasons):
                reasons = (*_why_fewer(self._database.studies.lost_images(study_uid)), *reasons)
                log.info("study_unmatched", study=study_uid, reasons=list(reasons))
                self._database.studies.set_unmatched(study_uid, reasons)
            case routes:
                self._make_jobs(recorded, routes)

    def _make_jobs(self, recorded: records.StudyContents, routes: Sequence[Route]) -> None:
        study_uid = recorded.study.study_instance_uid
        orders = [self._order(recorded, found) for found in routes]
        because = "; ".join(f"{found.rule} -> {found.pipeline}" for found in routes)
        try:
            made = self._database.jobs.route_study(study_uid, orders, because=because, formats=self._formats)
        except InputsChanged:
            log.info("routing_postponed", study=study_uid)  # the study is receiving again and will be back
            return
        for found, job in zip(routes, made, strict=True):
            _log_job(job, study_uid, found)
        if any(isinstance(job, Created) or job.added for job in made):
            self._on_created()

    def _order(self, recorded: records.StudyContents, found: Route) -> JobOrder:
        return JobOrder(
            rule=found.rule,
            pipeline=found.pipeline,
            roles=dict(found.roles),
            model_digest=self._model_digest(found.pipeline),
            send_to=tuple(found.send_to),
            priority=Priority(found.priority),
            inputs_digest=digest_of_roles(recorded, found.roles),
        )

    def _model_digest(self, name: str) -> str:
        """Read anew for every job: packages may be replaced while we run, and the dispatcher goes by what is there."""
        pipeline = pipeline_named(name)
        return model_digest(pipeline, packages_for(pipeline, self._model_folders))


def _why_fewer(lost: Iterable[records.LossRow]) -> tuple[str, ...]:
    """Rules saw fewer images than came where several share a UID: said first, for the other reasons follow from it."""
    sharing = sum(one.kind is LossKind.CONFLICTING for one in lost)
    if not sharing:
        return ()
    return (f"{sharing} more images carry the SOP Instance UID of another image: each needs its own to be used",)


def _log_job(made: Created | AlreadyExists, study_uid: str, found: Route) -> None:
    match made:
        case Created(job_id=job_id):
            log.info("job_created", job_id=job_id, study=study_uid, rule=found.rule, pipeline=found.pipeline)
        case AlreadyExists(job_id=job_id, state=state, added=added):
            log.info("job_exists", job_id=job_id, study=study_uid, state=str(state), sent_also_to=list(added))


def routing_facts(recorded: records.StudyContents) -> StudyAttributes:
    """What the database knows of a study, as the rules see it."""
    return study_attributes(recorded.study.study_instance_uid, recorded.tags, map(_known, recorded.series))


def _known(series: records.SeriesContents) -> KnownSeries:
    images = [
        KnownImage(one.sop_instance_uid, one.instance_tags, one.frames, one.source_ae) for one in series.instances
    ]
    return KnownSeries(series.series_instance_uid, series.tags, images)


def digest_of_roles(recorded: records.StudyContents, roles: Mapping[str, str]) -> str:
    """Inputs digest of the images that the roles stand for."""
    by_uid = {series.series_instance_uid: series for series in recorded.series}
    return inputs_digest(
        (role, instance.sop_instance_uid, instance.content_digest)
        for role, uid in roles.items()
        for instance in by_uid[uid].instances
    )
