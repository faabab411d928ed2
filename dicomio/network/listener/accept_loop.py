"""What a listener process does: accept connections and run one association per thread."""

from __future__ import annotations

import errno
import logging
import resource
import select
import socket
import threading
import time
from typing import Any

from pynetdicom import AE, _config

from dicomio.files.spool.spool import Spool
from dicomio.network.listener.association_records import AssociationRecords
from dicomio.network.listener.connection_table import ConnectionEntry, ConnectionTable
from dicomio.network.listener.settings import ListenerSettings
from dicomio.network.listener.storage_health import StorageHealth
from dicomio.network.scp.association import AcceptedAssociation, ProcessResources

LOG = logging.getLogger(__name__)

FILES_AHEAD = 32  # empty files made ahead: one flush more per so many images
YIELD_SECONDS = 0.002  # seconds between looks at whether a less busy process takes a connection
YIELD_TRIES = 10  # such looks
CHECK_EVERY = 10.0  # seconds between looks at whether images can be stored
LONGEST_UID = 128  # twice what is allowed; the file is named harmlessly whatever it is


class ListenerProcess:
    """Accepts connections and runs an association in a thread for each."""

    def __init__(self, settings: ListenerSettings, listening: socket.socket, table: ConnectionTable) -> None:
        self.settings = settings
        self.spool = Spool(settings.spool, reserve=settings.reserve_bytes, ahead=FILES_AHEAD)
        self.health = StorageHealth(self.spool)
        self.tls = settings.tls and settings.tls.server_context()
        self.records = AssociationRecords(self.spool)
        self._resources = ProcessResources(
            _application_entity(settings), settings, self.spool, self.health, self.records
        )
        self._listening = listening
        self._table = table
        self._running: set[AcceptedAssociation] = set()
        self._threads: list[threading.Thread] = []

    def run(self, stdin_fd: int) -> None:
        """Accept until `stdin_fd` ends, then let the running associations end."""
        poller = select.poll()
        poller.register(self._listening, select.POLLIN)
        poller.register(stdin_fd, select.POLLIN | select.POLLHUP)
        stopped = threading.Event()
        upkeep = threading.Thread(target=self._check_storage_regularly, args=(stopped,), name="upkeep", daemon=True)
        upkeep.start()
        while stdin_fd not in (ready := {fd for fd, _ in poller.poll()}):
            if ready:
                self._accept()
        stopped.set()
        self._listening.close()
        self._wait_for_threads(self.settings.grace)
        for association in tuple(self._running):
            association.end_soon = True
        self._wait_for_threads(2.0)
        upkeep.join(2.0)
        self.records.retry()
        self.spool.close()

    def _check_storage_regularly(self, stopped: threading.Event) -> None:
        """See whether images can be stored, and write what had to wait; not in the thread that accepts: disks hang."""
        while True:
            self.health.check()  # which has files prepared as well
            self.records.retry()
            if stopped.wait(CHECK_EVERY):
                return

    def _accept(self) -> None:
        for _ in range(YIELD_TRIES):
            if not self._table.another_is_less_busy():
                break
            time.sleep(YIELD_SECONDS)
        try:
            connection, address = self._listening.accept()
        except BlockingIOError:  # another process took it
            return
        except OSError as error:  # no descriptors left, or the peer is gone already
            LOG.error("accept_failed", extra={"fields": {"reason": str(error)}})
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                self.health.failed(f"no connection can be taken: {error.strerror}")
            time.sleep(0.1)
            return
        entry = self._table.enter(str(address[0]).removeprefix("::ffff:"), connection)
        if entry is None:
            connection.close()
            return
        thread = threading.Thread(target=self._serve, args=(connection, address, entry), daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        try:
            thread.start()
        except RuntimeError as error:  # no threads left
            LOG.error("accept_failed", extra={"fields": {"reason": str(error)}})
            self._threads.pop()
            entry.leave()
            connection.close()

    def _serve(self, connection: socket.socket, address: tuple[Any, ...], entry: ConnectionEntry) -> None:
        opened = time.monotonic()
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for the small answers
            if self.tls:
                connection.settimeout(self.settings.acse_timeout)
                connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                entry.connection = connection
                connection.do_handshake()
            association = AcceptedAssociation(self._resources, connection, address, entry, opened)
            self._running.add(association)
            try:
                association.serve()
            finally:
                self._running.discard(association)
        except OSError as error:
            LOG.warning("connection_failed", extra={"fields": {"peer_host": entry.host, "reason": str(error)}})
        except Exception:
            LOG.exception("association_failed")
        finally:
            connection.close()
            entry.leave()

    def _wait_for_threads(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def raise_descriptor_limit() -> None:
    """Raise the limit on open files as far as we may: each association takes one, and one for its image."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def relax_pynetdicom_checks() -> None:
    """Let pynetdicom accept what real devices send; switches of the whole process, so for listener processes only."""
    _config.CODECS = ("ascii", "latin-1")  # for AE titles
    _config.VALIDATORS["UI"] = lambda uid: (len(uid) <= LONGEST_UID, f"longer than {LONGEST_UID} characters")


def _application_entity(settings: ListenerSettings) -> AE:
    ae = AE(settings.ae_title)
    ae.acse_timeout = settings.acse_timeout
    ae.network_timeout = settings.network_timeout
    ae.dimse_timeout = settings.network_timeout
    ae.maximum_pdu_size = settings.max_pdu
    return ae
