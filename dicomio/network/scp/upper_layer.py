"""pynetdicom's upper layer without a thread of its own and without sleeping.

pynetdicom gives each association two threads, and each sleeps 1 ms whenever it has nothing to do; an image costs
several such sleeps. Here the upper layer (`DULServiceProvider`) has no thread: whoever would wait for it (the acceptor,
`receive_pdu`, `kill`) calls `run_once`, which waits for the peer in poll(2). State machine, PDUs and negotiation stay
pynetdicom's. `dicomio.network.scp.acceptor` says how an acceptor reads.

What is overridden here relies on how pynetdicom 3.0 works inside. test_upper_layer.py holds a digest of
every function that is replaced or relied upon, and fails when a new pynetdicom changes one.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider

LOG = logging.getLogger(__name__)

TICK = 0.5  # seconds between two checks of timers while waiting
CLOSE_SECONDS = 1.0  # seconds that the peer has to close the connection after the association's end


class UnthreadedUpperLayer(DULServiceProvider):  # type: ignore[misc]
    """The upper layer service provider, run by the thread that waits for it."""

    def __init__(self, assoc: Association) -> None:
        super().__init__(assoc)
        self._running = False
        self._running_once = False

    def start(self) -> None:
        """Starts no thread."""
        self._running = True
        self._idle_timer.start()
        self.assoc._dul_ready.set()

    def is_alive(self) -> bool:
        """Whether `run_once` can still be called."""
        return self._running and not self._kill_thread

    def run_once(self, patience: float) -> None:
        """One round of `DULServiceProvider.run_reactor`: send what is queued, or wait `patience` seconds for a PDU."""
        if self._running_once or not self.is_alive():
            return
        self._running_once = True
        try:
            self._run_once(patience)
        except Exception as error:
            LOG.exception("upper layer failed: %s", type(error).__name__)
            self.assoc.is_aborted, self.assoc.is_established = True, False
            self.assoc._kill = self._kill_thread = True
        finally:
            self._running_once = False

    def _run_once(self, patience: float) -> None:
        if self.artim_timer.expired:
            self.event_queue.put("Evt18")
        if not self._process_recv_primitive():
            self.socket.select_timeout = patience if self.event_queue.empty() else 0.0
            if self._is_transport_event():
                self._idle_timer.restart()
        try:
            event = self.event_queue.get(block=False)
        except queue.Empty:
            return
        self.state_machine.do_action(event)

    def run_until(self, done: Callable[[], object], timeout: float | None) -> None:
        """Run until `done()`, the end of the connection, or `timeout` seconds (None: no limit)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not done() and self.is_alive():
            patience = TICK if deadline is None else min(TICK, deadline - time.monotonic())
            if patience <= 0:
                return
            self.run_once(patience)

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """The next primitive for the service user, or None."""
        if wait:
            self.run_until(lambda: self.to_user_queue.queue, timeout)
        return super().receive_pdu(wait=False)

    def send_pdu(self, primitive: Any) -> None:
        """Send at once, so that what is sent is never queued up in memory."""
        super().send_pdu(primitive)
        while self.to_provider_queue.queue and self.is_alive() and not self._running_once:
            self.run_once(0.0)

    def stop_dul(self) -> bool:
        """Bring the connection to its end: wait a moment for the peer to close it, then close it ourselves."""
        self.run_until(lambda: self.state_machine.current_state == "Sta1", CLOSE_SECONDS)
        self.kill_dul()
        return True

    def kill_dul(self) -> None:
        """Stop; the connection is closed whatever state it was left in."""
        super().kill_dul()
        self.socket._shutdown_socket()


class UnthreadedAssociation(Association):  # type: ignore[misc]
    """An association that runs in one thread, the one that calls `run_reactor`.

    Attributes:
        end_soon: Set by another thread: abort within TICK seconds.
    """

    messages: type[DIMSEServiceProvider] = DIMSEServiceProvider
    upper_layer: type[UnthreadedUpperLayer] = UnthreadedUpperLayer

    def __init__(self, ae: Any, mode: str) -> None:
        super().__init__(ae, mode)
        self.dul = self.upper_layer(self)
        self.dimse = self.messages(self)
        self.acse_timeout = ae.acse_timeout  # again: these live in the timers of the layer that was just replaced
        self.network_timeout = ae.network_timeout
        self._is_paused = True
        self.is_established: bool = False
        self.is_released: bool = False
        self.is_aborted: bool = False
        self.end_soon = False

    def _bind_defaults(self) -> None:
        """Only what answers requests: pynetdicom's log handlers format each PDU, whether or not it is logged."""
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))

    def _run_reactor(self) -> None:
        """The acceptor's loop of `Association._run_reactor`, with `run_once` of the upper layer in place of its sleep.

        There are no messages to be served: that is done while they are read.
        """
        while not self._kill:
            self.dul.run_once(TICK)
            if self.is_established and self.acse.is_release_requested():
                self.acse.send_release(is_response=True)
                self.is_released, self.is_established = True, False
                evt.trigger(self, evt.EVT_RELEASED, {})
                self.kill()
            elif self.acse.is_aborted():
                self.dul.receive_pdu(wait=False)
                self.is_aborted, self.is_established = True, False
                evt.trigger(self, evt.EVT_ABORTED, {})
                self.kill()
            elif not self.dul.is_alive():
                self.kill()
            elif self.end_soon or self.dul.idle_timer_expired():
                self.dul.lost = not self.end_soon
                self.abort()
                self.kill()
