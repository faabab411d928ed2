"""The work of a listener process: take connections from the shared socket, run an association in a thread for each."""

from __future__ import annotations

import logging
import mmap
import os
import select
import socket
import struct
import threading
import time
from typing import Any

from pynetdicom import AE, _config

from dicomio.listener_settings import ListenerSettings
from dicomio.polled_socket import tune
from dicomio.reception import Reception
from dicomio.spool import Spool

LOG = logging.getLogger(__name__)

STOCK = 32  # prepared files: one flush more per so many images
POLITENESS = 0.002  # seconds between looks at whether a less busy process takes a connection
PATIENCE = 10  # such looks
LONGEST_UID = 128  # twice what is allowed; the file is named harmlessly whatever it is


class Loads:
    """How many associations each listener process has, in memory that they share; each writes its own number only."""

    def __init__(self, fd: int, processes: int, mine: int) -> None:
        self._memory = mmap.mmap(fd, 4 * processes)
        self._format = f"<{processes}I"
        self._mine = mine
        self._lock = threading.Lock()

    def add(self, change: int) -> None:
        """Change our own number."""
        with self._lock:
            struct.pack_into("<I", self._memory, 4 * self._mine, self.read()[self._mine] + change)

    def read(self) -> tuple[int, ...]:
        """All numbers."""
        return struct.unpack(self._format, self._memory)

    def somebody_is_less_busy(self) -> bool:
        """Whether another process should take the next connection."""
        numbers = self.read()
        return numbers[self._mine] > min(numbers)


class ListenerProcess:
    """Accepts connections and runs an association in a thread for each."""

    def __init__(self, settings: ListenerSettings, listening: socket.socket, loads: Loads, wake_fd: int) -> None:
        self.settings = settings
        self.spool = Spool(settings.spool, reserve=settings.reserve_bytes, stock=STOCK)
        self.tls = settings.tls and settings.tls.server_context()
        self.ae = _application_entity(settings)
        self._listening = listening
        self._loads = loads
        self._wake_fd = wake_fd
        self._running: set[Reception] = set()
        self._threads: list[threading.Thread] = []

    def run(self, lifeline: int) -> None:
        """Accept until `lifeline` ends, then let the running associations end."""
        poller = select.poll()
        poller.register(self._listening, select.POLLIN)
        poller.register(lifeline, select.POLLIN | select.POLLHUP)
        while lifeline not in (ready := {fd for fd, _ in poller.poll()}):
            if ready:
                self._accept()
        self._listening.close()
        self._wait_for_threads(self.settings.grace)
        for reception in tuple(self._running):
            reception.end_soon = True
        self._wait_for_threads(2.0)
        self.spool.close()

    def _accept(self) -> None:
        for _ in range(PATIENCE):
            if not self._loads.somebody_is_less_busy():
                break
            time.sleep(POLITENESS)
        try:
            connection, address = self._listening.accept()
        except BlockingIOError:  # another process took it
            return
        except OSError as error:  # no descriptors left, or the peer is gone already
            LOG.error("accept_failed", extra={"fields": {"reason": str(error)}})
            time.sleep(0.1)
            return
        self._loads.add(1)
        thread = threading.Thread(target=self._serve, args=(connection, address), daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()

    def _serve(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        try:
            tune(connection, self.settings.network_timeout)
            if self.tls:
                connection.settimeout(self.settings.acse_timeout)
                connection = self.tls.wrap_socket(connection, server_side=True)
                connection.settimeout(self.settings.network_timeout)
            reception = Reception(
                self.ae, self.settings, self.spool, connection, address, stored=self._wake, full=self._full
            )
            self._running.add(reception)
            try:
                reception.serve()
            finally:
                self._running.discard(reception)
        except OSError as error:
            LOG.warning("connection_failed", extra={"fields": {"peer_host": str(address[0]), "reason": str(error)}})
        except Exception:
            LOG.exception("association_failed")
        finally:
            self._loads.add(-1)
            connection.close()

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _full(self) -> bool:
        return sum(self._loads.read()) > self.settings.max_associations

    def _wait_for_threads(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def be_lenient() -> None:
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
