"""The daemon: its parts, the order in which they start, and the order in which they stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import structlog

from daemon.identity import WORKER
from daemon.installation import SpoolSide, check_installation, locked
from daemon.intake.reader import SpoolReader
from daemon.intake.watcher import FolderWatcher, WatchedFolder
from daemon.jobs.assembly import Assembly
from daemon.jobs.delivery import DestinationSender, UnconfiguredDestinations, peer_of, tls_files
from daemon.jobs.dispatch import Dispatcher, wishes_of
from daemon.loop import Loop
from daemon.workers.pool import WorkerPool
from daemon.workers.status import DaemonStatus, PartState, PartStatus, StatusFile, listener_status
from db.database import Database
from db.errors import DatabaseUnavailable
from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import AllowedPeer, Listener, ListenerSettings
from engines.contract import EngineSettings
from engines.errors import EngineError
from engines.machine import usable_cores
from pipelines.errors import PipelineError
from pipelines.job import EngineChoice
from pipelines.registry import PIPELINES, packages_for
from pipelines.rules.file import RuleFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.config import Config
    from pipelines.job import ModelChoices
    from pipelines.rules.model import RuleSet

log = structlog.get_logger(__name__)


SENDING_ENDS = 5.0
"""Seconds that a sender has, at the end, for the instance that it is sending; then its connection is cut."""

STEPS_END = 12.0
"""Seconds that all steps that run have, at the end, together."""

LONGEST_PAUSE = 30.0
"""Seconds between two tries to reach a database that is away."""


class Service:
    """Everything that `scanward serve` runs. A context manager: start on enter, orderly stop on exit.

    Receiving starts first: whatever else is away, images are taken and wait in the spool.

    Stop order: everybody is told at once; accepting ends and associations may end; no more work is handed out, and what
    runs returns to the queue; the sending of the current instances ends, or is cut; the database is closed.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stack = ExitStack()
        self._listener: Listener | None = None
        self._rule_file: RuleFile | None = None
        self._listener_stops: threading.Thread | None = None
        self._pool: WorkerPool | None = None
        self._reader: Loop | None = None
        self._loops: list[Loop] = []
        self._senders: list[DestinationSender] = []
        self._database_away: PartStatus | None = None
        self._deadline = 0.0
        self.stopped = threading.Event()

    def __enter__(self) -> Self:
        self._handle_signals()
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
        database = Database(config.database_url, config.data_dir)
        self._stack.callback(database.close)
        spool = Spool(config.spool_dir, largest=config.limits.inflated)
        before = SpoolSide.of(spool)  # what comes from now on belongs to this installation, whichever it is
        spool.sweep()
        self._start_status_file()
        self._start_inputs(spool)
        log.info("receiving", pid=os.getpid(), data_dir=str(config.data_dir))
        notify_systemd("READY=1")
        if self._wait_for_database(database, spool, before):
            self._start_work(database, spool)
            log.info("ready", pid=os.getpid(), data_dir=str(config.data_dir))
        self._stack.callback(self._request_stop)  # the last that is registered is the first that is called

    def _start_work(self, database: Database, spool: Spool) -> None:
        """All that needs the database."""
        intake = SpoolReader(spool, database)
        recovered = database.recover_after_restart(WORKER)
        if recovered.jobs or recovered.deliveries:
            log.info("recovered", jobs=list(recovered.jobs), deliveries=len(recovered.deliveries))
        self._start_workers(database, self._start_senders(database), intake)
        self._reader = self._loop("intake", intake.step, interval=0.25)

    def _wait_for_database(self, database: Database, spool: Spool, before: SpoolSide) -> bool:
        """Waits until the database is there, for as long as it takes; False if the service was stopped meanwhile."""
        pause = 1.0
        while not self.stopped.is_set():
            try:
                if database.file is not None:  # a file of our own: nobody else has to agree to its upgrade
                    database.upgrade()
                database.check()
                check_installation(self.config, database, spool, before)
            except DatabaseUnavailable as error:
                log.warning("database_unavailable", reason=str(error), next_try_s=pause)
                self._note_database_away(str(error))
                self.stopped.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._database_away = None
                return True
        return False

    def _note_database_away(self, reason: str) -> None:
        since = self._database_away.since if self._database_away else datetime.now(UTC)
        self._database_away = PartStatus(name="database", state=PartState.WAITING, since=since, reason=reason)

    def _loop(
        self, name: str, step: Callable[[], bool], *, interval: float, notice: Callable[[], str] = lambda: ""
    ) -> Loop:
        """Starts a part of the service."""
        loop = Loop(name, step, interval=interval, notice=notice)
        self._stack.callback(lambda: loop.stop(self._time_left()))
        loop.__enter__()
        self._loops.append(loop)
        return loop

    def _start_status_file(self) -> None:
        standing = StatusFile(self.config.status_file, self._status)
        self._stack.callback(self.config.status_file.unlink, missing_ok=True)
        self._loop("status", standing.step, interval=1.0)

    def _start_senders(self, database: Database) -> list[Loop]:
        loops = []
        for name, destination in self.config.destinations.items():
            sender = DestinationSender(name, destination, peer_of(destination, self.config), database)
            self._senders.append(sender)
            loops.append(self._loop(f"deliver-{name}", sender.step, interval=0.5))
        unconfigured = UnconfiguredDestinations(database, self.config.destinations.keys())
        self._loop("deliver-nowhere", unconfigured.step, interval=30.0)
        return loops

    def _start_workers(self, database: Database, senders: list[Loop], intake: SpoolReader) -> None:
        config = self.config
        settings = engine_settings(config)

        def wake() -> None:
            dispatching.wake()

        def deliver() -> None:
            for sender in senders:
                sender.wake()

        pool = WorkerPool(
            config.workers,
            config.data_dir / "dask",
            warm_up=warm_up_models(config, settings),
            gpus=config.engine.gpu,
            logging_section=config.logging,
            on_return=wake,
        )
        self._pool = self._stack.enter_context(pool)
        dispatch = Dispatcher(database, pool, config, settings, on_computed=deliver)
        self._stack.callback(dispatch.stop)
        dispatching = self._loop("dispatch", dispatch.step, interval=0.2, notice=dispatch.notice)
        self._start_assembly(database, dispatching, intake)

    def _start_assembly(self, database: Database, dispatching: Loop, intake: SpoolReader) -> None:
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
        self._loop("assembly", assembly.step, interval=0.25)

    def _start_inputs(self, spool: Spool) -> None:
        config = self.config
        folders = [
            WatchedFolder(path=watch.path, settle=watch.settle.total_seconds(), keep=watch.keep)
            for watch in config.watch
        ]
        if folders:
            watcher = self._stack.enter_context(
                FolderWatcher(folders, spool, on_event=lambda event: self._wake_reader())
            )
            self._loops.extend(watcher.loops)
        if config.listener is not None:
            self._stack.callback(self._wait_for_listener)
            listener = self._stack.enter_context(Listener(listener_settings(config)))
            self._listener = listener
            log.info("listening", ae_title=config.listener.ae_title, port=config.listener.port)

    def _wake_reader(self) -> None:
        if self._reader is not None:
            self._reader.wake()

    def _status(self) -> DaemonStatus:
        state = self._listener and self._listener.state
        empty = DaemonStatus(wanted=self.config.workers.count, workers=(), replaced=())
        parts = [*([self._database_away] if self._database_away else []), *(loop.status for loop in self._loops)]
        told = {
            "listener": state and listener_status(state),
            "parts": tuple(parts),
            "rules_rejected": tuple(map(str, self._rule_file.problems)) if self._rule_file else (),
        }
        return (self._pool.status if self._pool else empty).model_copy(update=told)

    def _request_stop(self) -> None:
        """Everybody hears at once that it is over; waiting comes after that."""
        if self._deadline:
            return
        self._deadline = time.monotonic() + STEPS_END
        self.stopped.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            self._listener_stops = threading.Thread(target=listener.stop, name="stop-listener")
            self._listener_stops.start()
        for loop in self._loops:
            loop.request_stop()
        for sender in self._senders:
            sender.finish()
        timer = threading.Timer(SENDING_ENDS, self._cut_connections)
        timer.daemon = True
        timer.start()

    def _wait_for_listener(self) -> None:
        if self._listener_stops is not None:
            self._listener_stops.join()

    def _cut_connections(self) -> None:
        for sender in self._senders:
            sender.cut_connection()

    def _time_left(self) -> float:
        return max(0.5, self._deadline - time.monotonic())

    def _handle_signals(self) -> None:
        """A stop is heard from the first moment on, also while the database is waited for."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stopped.set())

    def run_until_signal(self) -> None:
        """Blocks until SIGTERM or SIGINT; meanwhile no part of the service stays ended."""
        while not self.stopped.wait(1.0):
            for loop in list(self._loops):
                try:
                    loop.restart_if_ended()
                except RuntimeError as error:  # the machine has no thread to give; it is tried again
                    log.error("thread_not_started", loop=loop.name, reason=str(error))


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


def warm_up_models(config: Config, settings: EngineSettings) -> ModelChoices:
    """Every pipeline with the models that it would use now; one whose models are broken is left for its jobs to say."""
    models = {}
    for pipeline in PIPELINES.values():
        try:
            packages = packages_for(pipeline, config.models)
        except (EngineError, PipelineError) as error:
            log.warning("not_rehearsed", pipeline=pipeline.name, reason=str(error))
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


def notify_systemd(message: str) -> None:
    """Reports to systemd (sd_notify), if it started us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + address[1:] if address.startswith("@") else address)
        notify.sendall(message.encode())
