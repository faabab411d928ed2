"""The daemon: its parts, the order in which they start, and the order in which they stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import structlog

from daemon.assembly import Assembly
from daemon.delivery import Courier, peer_of, tls_files
from daemon.dispatch import Dispatch, wishes_of
from daemon.identity import WORKER
from daemon.installation import check_installation, locked
from daemon.intake import Intake
from daemon.loop import Loop
from daemon.standing import Standing, StandingFile, listener_standing
from daemon.watcher import FolderWatcher, WatchedFolder
from daemon.workers import WorkerPool
from db.store import Database
from dicomio.listener import AllowedPeer, Listener, ListenerSettings
from dicomio.spool import Spool
from engines.contract import EngineSettings
from engines.errors import EngineError
from engines.machine import usable_cores
from pipelines.errors import PipelineError
from pipelines.registry import PIPELINES, packages_for
from pipelines.rules import RuleFile
from pipelines.work import EngineChoice

if TYPE_CHECKING:
    from daemon.config import Config
    from pipelines.rehearsal import Cast
    from pipelines.rules import RuleSet

log = structlog.get_logger(__name__)


class Service:
    """Everything that `scanward serve` runs. A context manager: start on enter, orderly stop on exit.

    Stop order: stop accepting, let associations end; stop handing out work, return what runs to the queue; let the
    sending of the current instances end; close the database.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stack = ExitStack()
        self._listener: Listener | None = None
        self._rule_file: RuleFile | None = None
        self.stopped = threading.Event()

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        log.info("stopping")
        self._stack.close()
        log.info("stopped")

    def _start(self) -> None:
        config = self.config
        for folder in (config.data_dir, config.outbox_dir, config.cache_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._stack.enter_context(locked(config.data_dir))
        database = self._database()
        spool = Spool(config.spool_dir, largest=config.limits.inflated)
        check_installation(config, database, spool)
        spool.sweep()
        intake = Intake(spool, database)
        recovered = database.recover_after_restart(WORKER)
        if recovered.jobs or recovered.deliveries:
            log.info("recovered", jobs=list(recovered.jobs), deliveries=len(recovered.deliveries))
        couriers = self._start_couriers(database)
        dispatching = self._start_workers(database, couriers)
        self._start_assembly(database, dispatching, intake)
        reader = self._stack.enter_context(Loop("intake", intake.step, interval=0.25))
        self._start_doors(spool, reader)
        log.info("ready", pid=os.getpid(), data_dir=str(config.data_dir))
        tell_systemd("READY=1")

    def _database(self) -> Database:
        database = Database(self.config.database_url, self.config.data_dir)
        self._stack.callback(database.close)
        if database.file is not None:  # a file of our own: nobody else has to agree to its upgrade
            database.upgrade()
        database.check()
        return database

    def _start_couriers(self, database: Database) -> list[Loop]:
        loops = []
        for name, destination in self.config.destinations.items():
            courier = Courier(name, destination, peer_of(destination, self.config), database)
            loops.append(self._stack.enter_context(Loop(f"deliver-{name}", courier.step, interval=0.5)))
        return loops

    def _start_workers(self, database: Database, couriers: list[Loop]) -> Loop:
        config = self.config
        settings = engine_settings(config)

        def wake() -> None:
            dispatching.wake()

        def deliver() -> None:
            for courier in couriers:
                courier.wake()

        pool = WorkerPool(
            config.workers,
            config.data_dir / "dask",
            warm_up=warm_up_cast(config, settings),
            gpus=config.engine.gpu,
            logging_part=config.logging,
            on_return=wake,
        )
        self._stack.enter_context(pool)
        standing = StandingFile(config.standing_file, lambda: self._standing(pool))
        self._stack.callback(config.standing_file.unlink, missing_ok=True)
        self._stack.enter_context(Loop("standing", standing.step, interval=1.0))
        dispatch = Dispatch(database, pool, config, settings, on_computed=deliver)
        self._stack.callback(dispatch.stop)
        dispatching = self._stack.enter_context(Loop("dispatch", dispatch.step, interval=0.2))
        return dispatching

    def _start_assembly(self, database: Database, dispatching: Loop, intake: Intake) -> None:
        config = self.config
        rule_file = RuleFile(config.rules, known_pipelines=PIPELINES, known_destinations=config.destinations.keys())
        self._rule_file = rule_file
        assembly = Assembly(
            database,
            lambda: current_rules(rule_file),
            quiet_period=config.assembly.quiet_period,
            after_release=config.assembly.after_release,
            model_folders=config.models,
            as_of=lambda: intake.indexed_until,
            wishes=wishes_of(config),
            on_created=dispatching.wake,
        )
        self._stack.enter_context(Loop("assembly", assembly.step, interval=0.25))

    def _start_doors(self, spool: Spool, reader: Loop) -> None:
        config = self.config
        folders = [
            WatchedFolder(path=watch.path, settle=watch.settle.total_seconds(), keep=watch.keep)
            for watch in config.watch
        ]
        if folders:
            self._stack.enter_context(FolderWatcher(folders, spool, on_event=lambda event: reader.wake()))
        if config.listener is not None:
            listener = self._stack.enter_context(Listener(listener_settings(config)))
            self._listener = listener
            log.info("listening", ae_title=config.listener.ae_title, port=config.listener.port)

    def _standing(self, pool: WorkerPool) -> Standing:
        state = self._listener and self._listener.state
        rejected = tuple(map(str, self._rule_file.problems)) if self._rule_file else ()
        return pool.standing.model_copy(
            update={"listener": state and listener_standing(state), "rules_rejected": rejected}
        )

    def run_until_signal(self) -> None:
        """Blocks until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopped.set())
        while not self.stopped.wait(3600):
            pass


def current_rules(rule_file: RuleFile) -> RuleSet:
    """The rules in force, reloaded if their file changed; a broken file changes nothing and says so once."""
    rule_file.refresh()
    return rule_file.current


def engine_settings(config: Config) -> EngineSettings:
    """How workers of this configuration run engines; threads are shared out among the workers of this machine.

    Of several GPUs the first stands here, for whoever is no worker; a worker takes its own (`WorkerPool`).
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


def warm_up_cast(config: Config, settings: EngineSettings) -> Cast:
    """Every pipeline with the models that it would use now; one whose models are broken is left for its jobs to say."""
    cast = {}
    for pipeline in PIPELINES.values():
        try:
            packages = packages_for(pipeline, config.models)
        except (EngineError, PipelineError) as error:
            log.warning("not_rehearsed", pipeline=pipeline.name, reason=str(error))
            continue
        cast[pipeline.name] = {slot: EngineChoice(str(one.folder), settings) for slot, one in packages.items()}
    return cast


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


def tell_systemd(message: str) -> None:
    """Reports to systemd (sd_notify), if it started us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + address[1:] if address.startswith("@") else address)
        notify.sendall(message.encode())
