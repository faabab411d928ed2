"""The service: its parts, and the order in which they start and stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import structlog

from daemon.identity import WORKER
from daemon.installation import SpoolSide, check_installation, locked
from daemon.intake.reader import SpoolReader
from daemon.intake.watcher import FolderWatcher, WatchedFolder
from daemon.jobs.assembly import Assembly
from daemon.jobs.delivery import DestinationSender, UnconfiguredDestinations, peer_of
from daemon.jobs.dispatch import Dispatcher, formats_of
from daemon.settings import engine_settings, listener_settings, warm_up_models
from daemon.supervisor import Supervisor
from daemon.workers.pool import WorkerPool
from daemon.workers.status import DaemonStatus, PartState, PartStatus, StatusFile, listener_status
from db.database import Database
from db.errors import DatabaseUnavailable
from dicomio.files.spool.spool import Spool
from dicomio.network.backoff import Backoff
from dicomio.network.listener.supervisor import Listener
from pipelines.registry import PIPELINES
from pipelines.rules.file import RuleFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.config import Config
    from daemon.loop import Loop
    from pipelines.rules.model import RuleSet

log = structlog.get_logger(__name__)


SENDING_ENDS = 5.0
"""Seconds that a sender has, at the end, for the instance that it is sending; then its connection is cut."""

LONGEST_PAUSE = 30.0
"""Seconds between two tries to reach a database that is not available."""


class Service:
    """Everything that `scanward serve` runs. A context manager: start on enter, orderly stop on exit.

    Receiving starts first: whatever else is not available, images are received and wait in the spool.

    Stop order: every part is told to stop at once. The listener accepts no more and lets associations end. No more jobs
    start, and those that run return to the queue. Senders finish the instance that they are sending, or are cut off.
    Last, the database is closed.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._stack = ExitStack()
        self._listener: Listener | None = None
        self._rule_file: RuleFile | None = None
        self._listener_stops: threading.Thread | None = None
        self._pool: WorkerPool | None = None
        self._reader_loop: Loop | None = None
        self._threads = Supervisor()
        self._senders: list[DestinationSender] = []
        self._database_unavailable: PartStatus | None = None
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
        """Starts all that needs the database."""
        reader = SpoolReader(spool, database)
        recovered = database.jobs.recover(WORKER)
        if recovered.jobs or recovered.deliveries:
            log.info("recovered", jobs=list(recovered.jobs), deliveries=len(recovered.deliveries))
        self._start_workers(database, self._start_senders(database), reader)
        self._reader_loop = self._start_loop("intake", reader.step, interval=0.25)

    def _wait_for_database(self, database: Database, spool: Spool, before: SpoolSide) -> bool:
        """Waits until the database is there, for as long as it takes; False if the service was stopped meanwhile."""
        backoff = Backoff(1.0, LONGEST_PAUSE)
        while not self.stopped.is_set():
            try:
                if database.file is not None:  # a file of our own: nobody else has to agree to its upgrade
                    database.upgrade()
                database.check()
                check_installation(self.config, database, spool, before)
            except DatabaseUnavailable as error:
                pause = backoff.failed()
                log.warning("database_unavailable", reason=str(error), next_try_s=pause)
                self._note_database_unavailable(str(error))
                self.stopped.wait(pause)
            else:
                self._database_unavailable = None
                return True
        return False

    def _note_database_unavailable(self, reason: str) -> None:
        since = self._database_unavailable.since if self._database_unavailable else datetime.now(UTC)
        self._database_unavailable = PartStatus(name="database", state=PartState.WAITING, since=since, reason=reason)

    def _start_loop(
        self, name: str, step: Callable[[], bool], *, interval: float, notice: Callable[[], str] = lambda: ""
    ) -> Loop:
        """Starts a part of the service."""
        loop = self._threads.start(name, step, interval=interval, notice=notice)
        self._stack.callback(self._threads.stop, loop)
        return loop

    def _start_status_file(self) -> None:
        file = StatusFile(self.config.status_file, self._status)
        self._stack.callback(self.config.status_file.unlink, missing_ok=True)
        self._start_loop("status", file.step, interval=1.0)

    def _start_senders(self, database: Database) -> list[Loop]:
        loops = []
        for name, destination in self.config.destinations.items():
            sender = DestinationSender(name, destination, peer_of(destination, self.config), database.deliveries)
            self._senders.append(sender)
            loops.append(self._start_loop(f"deliver-{name}", sender.step, interval=0.5))
        unconfigured = UnconfiguredDestinations(database.deliveries, self.config.destinations.keys())
        self._start_loop("deliver-nowhere", unconfigured.step, interval=30.0)
        return loops

    def _start_workers(self, database: Database, sender_loops: list[Loop], reader: SpoolReader) -> None:
        config = self.config
        settings = engine_settings(config)

        def wake_dispatch() -> None:
            dispatch_loop.wake()

        def wake_senders() -> None:
            for sender in sender_loops:
                sender.wake()

        pool = WorkerPool(
            config.workers,
            config.data_dir / "dask",
            warm_up=warm_up_models(config, settings),
            gpus=config.engine.gpu,
            logging_section=config.logging,
            on_result=wake_dispatch,
        )
        self._pool = self._stack.enter_context(pool)
        dispatcher = Dispatcher(database, pool, config, settings, on_computed=wake_senders)
        self._stack.callback(dispatcher.stop)
        dispatch_loop = self._start_loop("dispatch", dispatcher.step, interval=0.2, notice=dispatcher.notice)
        self._start_assembly(database, dispatch_loop, reader)

    def _start_assembly(self, database: Database, dispatch_loop: Loop, reader: SpoolReader) -> None:
        config = self.config
        rule_file = RuleFile(config.rules, known_pipelines=PIPELINES, known_destinations=config.destinations.keys())
        self._rule_file = rule_file
        assembly = Assembly(
            database,
            lambda: current_rules(rule_file),
            quiet_period=config.assembly.quiet_period,
            after_release=config.assembly.after_release,
            model_folders=config.models,
            as_of=lambda: reader.indexed_until,
            formats=formats_of(config),
            on_created=dispatch_loop.wake,
        )
        self._start_loop("assembly", assembly.step, interval=0.25)

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
            self._threads.add(watcher.loops)
        if config.listener is not None:
            self._stack.callback(self._wait_for_listener)
            listener = self._stack.enter_context(Listener(listener_settings(config)))
            self._listener = listener
            log.info("listening", ae_title=config.listener.ae_title, port=config.listener.port)

    def _wake_reader(self) -> None:
        if self._reader_loop is not None:
            self._reader_loop.wake()

    def _status(self) -> DaemonStatus:
        state = self._listener and self._listener.state
        empty = DaemonStatus(wanted=self.config.workers.count, workers=(), replaced=())
        parts = [*([self._database_unavailable] if self._database_unavailable else []), *self._threads.status]
        rest = {
            "listener": state and listener_status(state),
            "parts": tuple(parts),
            "rules_rejected": tuple(map(str, self._rule_file.problems)) if self._rule_file else (),
        }
        return (self._pool.status if self._pool else empty).model_copy(update=rest)

    def _request_stop(self) -> None:
        """Tells every part to stop, before any of them is waited for."""
        self.stopped.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            self._listener_stops = threading.Thread(target=listener.stop, name="stop-listener")
            self._listener_stops.start()
        self._threads.request_stop()
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

    def _handle_signals(self) -> None:
        """SIGTERM and SIGINT stop the service from the first moment on, also while it waits for the database."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stopped.set())

    def run_until_signal(self) -> None:
        """Blocks until SIGTERM or SIGINT; meanwhile threads that have ended are started again."""
        while not self.stopped.wait(1.0):
            self._threads.restart_ended()


def current_rules(rule_file: RuleFile) -> RuleSet:
    """The rules in force, reloaded if their file changed; a broken file changes nothing and says so once."""
    rule_file.refresh()
    return rule_file.current


def notify_systemd(message: str) -> None:
    """Reports to systemd (sd_notify), if it started us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + address[1:] if address.startswith("@") else address)
        notify.sendall(message.encode())
