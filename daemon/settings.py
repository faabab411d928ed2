"""What the configuration means for engines, workers and the listener, in their own terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from daemon.jobs.delivery import tls_files
from dicomio.network.listener.supervisor import AllowedPeer, ListenerSettings
from engines.contract import EngineSettings
from engines.errors import EngineError
from engines.machine import usable_cores
from pipelines.errors import PipelineError
from pipelines.job import EngineChoice
from pipelines.registry import PIPELINES, packages_for

if TYPE_CHECKING:
    from daemon.config import Config
    from pipelines.job import ModelChoices

log = structlog.get_logger(__name__)


def engine_settings(config: Config) -> EngineSettings:
    """How workers of this configuration run engines; threads are shared out among the workers of this machine.

    Of several GPUs the first stands here, for commands that run without workers; a worker takes its own (`WorkerPool`).
    """
    threads = config.engine.threads or max(1, usable_cores() // config.workers.count)
    return EngineSettings(
        backend=config.engine.backend,
        precision=config.engine.precision,
        threads=threads,
        cache_dir=config.cache_dir,
        max_batch=config.engine.max_batch,
        gpu=config.engine.gpu[0],
    )


def warm_up_models(config: Config, settings: EngineSettings) -> ModelChoices:
    """Every pipeline with the models that it would use now; one whose models are broken is left for its jobs to say."""
    models = {}
    for pipeline in PIPELINES.values():
        try:
            packages = packages_for(pipeline, config.models)
        except (EngineError, PipelineError) as error:
            log.warning("warm_up_skipped", pipeline=pipeline.name, reason=str(error))
            continue
        models[pipeline.name] = {slot: EngineChoice(str(one.folder), settings) for slot, one in packages.items()}
    return models


def listener_settings(config: Config) -> ListenerSettings:
    """The listener's part of the configuration, in the listener's own terms."""
    part = config.listener
    if part is None:
        raise ValueError("there is no listener in this configuration")
    return ListenerSettings(
        ae_title=part.ae_title,
        host=part.host,
        port=part.port,
        processes=part.processes,
        max_associations=part.max_associations,
        max_associations_per_host=part.max_associations_per_host or (part.max_associations + 1) // 2,
        max_request=part.max_request,
        max_pdu=part.max_pdu,
        max_object=part.max_object,
        acse_timeout=part.association_timeout.total_seconds(),
        pdu_timeout=part.pdu_timeout.total_seconds(),
        network_timeout=part.idle_timeout.total_seconds(),
        slowest_rate=part.slowest_rate,
        allow=tuple(AllowedPeer(ae_title=peer.ae_title, host=peer.host or "") for peer in part.allow),
        spool=config.spool_dir,
        tls=tls_files(part.tls),
    )
