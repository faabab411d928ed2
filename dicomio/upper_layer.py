"""pynetdicom without its waiting: the upper layer runs in whichever thread waits for it.

pynetdicom gives each association two threads, and each sleeps 1 ms whenever it finds nothing to do; an image costs
several of those naps. Here the upper layer (`DULServiceProvider`) has no thread of its own: whoever would wait for it
(the acceptor's loop, `get_msg`, `receive_pdu`, `kill`) makes its turns, and each turn waits for the peer in poll(2).
State machine, PDUs, negotiation and services stay pynetdicom's. Incoming P-DATA is handed on as views of one buffer
instead of being copied five times.

What is overridden here relies on how pynetdicom 3.0 works inside. tests/dicomio/test_upper_layer.py holds a digest of
every function that is replaced or relied upon, and fails when a new pynetdicom changes one, so that somebody looks.
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
from pynetdicom.pdu_primitives import P_DATA

LOG = logging.getLogger(__name__)

TICK = 0.5  # seconds: how often a waiting thread looks at its timers
LINGER = 1.0  # seconds that the peer has to close the connection after the association's end
DATA_PDU = 0x04
LARGEST_PDU = 64 << 20  # bytes; a length beyond this is an attack or nonsense, whatever was negotiated
LARGEST_CONTROL_PDU = 1 << 20


class ReceivedData:
    """A received P-DATA-TF PDU (PS3.8, 9.3.5); its values are views of the receive buffer, valid till the next read."""

    def __init__(self, body: memoryview) -> None:
        self.body = body

    def to_primitive(self) -> P_DATA:
        """The primitive that the state machine passes on; raises ValueError when the lengths inside do not add up."""
        primitive = P_DATA()
        body, at = self.body, 0
        while at < len(body):
            length = int.from_bytes(body[at : at + 4], "big")
            if length < 2 or at + 4 + length > len(body):
                raise ValueError("a presentation data value is longer than its PDU")
            primitive.presentation_data_value_list.append((body[at + 4], body[at + 5 : at + 4 + length]))
            at += 4 + length
        return primitive


class UnthreadedUpperLayer(DULServiceProvider):  # type: ignore[misc]
    """The upper layer service provider, making its turns in the thread that waits for it."""

    def __init__(self, assoc: Association) -> None:
        super().__init__(assoc)
        self._running = False
        self._turning = False
        self.lost = False
        self._buffer = bytearray()

    def start(self) -> None:
        """There is no thread to start."""
        self._running = True
        self._idle_timer.start()
        self.assoc._dul_ready.set()

    def is_alive(self) -> bool:
        """Whether turns can still be made."""
        return self._running and not self._kill_thread

    def turn(self, patience: float) -> None:
        """One turn of `DULServiceProvider.run_reactor`: send what is queued, or wait `patience` seconds for a PDU."""
        if self._turning or not self.is_alive():
            return
        self._turning = True
        try:
            self._make_turn(patience)
        except Exception as error:
            LOG.exception("upper layer failed: %s", type(error).__name__)
            self.assoc.is_aborted, self.assoc.is_established = True, False
            self.assoc._kill = self._kill_thread = True
        finally:
            self._turning = False

    def _make_turn(self, patience: float) -> None:
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

    def pump(self, done: Callable[[], object], timeout: float | None) -> None:
        """Make turns until `done()`, the end of the connection, or `timeout` seconds (None: no limit)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not done() and self.is_alive():
            patience = TICK if deadline is None else min(TICK, deadline - time.monotonic())
            if patience <= 0:
                return
            self.turn(patience)

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """The next primitive for the service user, or None."""
        if wait:
            self.pump(lambda: self.to_user_queue.queue, timeout)
        return super().receive_pdu(wait=False)

    def send_pdu(self, primitive: Any) -> None:
        """Send at once, so that what is sent is never queued up in memory."""
        super().send_pdu(primitive)
        while self.to_provider_queue.queue and self.is_alive() and not self._turning:
            self.turn(0.0)

    def stop_dul(self) -> bool:
        """Bring the connection to its end: wait a moment for the peer to close it, then close it ourselves."""
        self.pump(lambda: self.state_machine.current_state == "Sta1", LINGER)
        self.kill_dul()
        return True

    def kill_dul(self) -> None:
        """No more turns; the connection is closed whatever state it was left in."""
        super().kill_dul()
        self.socket._shutdown_socket()

    def _read_pdu_data(self) -> None:
        """Read one PDU: P-DATA here, without copying; the others, which are few and small, as pynetdicom does."""
        try:
            header = bytes(self.socket.recv(6))
            length = int.from_bytes(header[2:6], "big")
            if len(header) == 6 and header[0] == DATA_PDU:
                self._read_data(length)
                return
        except OSError as error:
            LOG.warning("connection_lost", extra={"fields": {"reason": str(error)}})
            self._lose()
            return
        if len(header) < 6:
            self._lose()
            return
        if length > LARGEST_CONTROL_PDU:
            self.event_queue.put("Evt19")
            return
        self.socket.unread(header)
        super()._read_pdu_data()

    def _read_data(self, length: int) -> None:
        if length > LARGEST_PDU:
            self.event_queue.put("Evt19")
            return
        if length > len(self._buffer):
            self._buffer = bytearray(max(length, 1 << 18))
        body = memoryview(self._buffer)[:length]
        if self.socket.recv_into(body) < length:
            self._lose()
            return
        self._recv_pdu.put(ReceivedData(body))
        self.event_queue.put("Evt10")

    def _lose(self) -> None:
        self.lost = self.lost or self.state_machine.current_state != "Sta13"  # there, the end is what we wait for
        self.event_queue.put("Evt17")  # transport connection closed


class UnthreadedMessages(DIMSEServiceProvider):  # type: ignore[misc]
    """The DIMSE provider of such an association."""

    def get_msg(self, block: bool = False) -> Any:
        """The next message: (context id, message), or (None, None)."""
        if block:
            self.dul.pump(lambda: self.msg_queue.queue, self.dimse_timeout)
        return super().get_msg(block=False)


class UnthreadedAssociation(Association):  # type: ignore[misc]
    """An association that runs in one thread: the acceptor's `run_reactor`, or the requestor's own calls.

    As requestor it needs no `start`: `send_c_store` and the others make the turns that they need.

    Attributes:
        end_soon: Set by another thread: abort at the next tick.
    """

    messages: type[DIMSEServiceProvider] = UnthreadedMessages
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
        """Only what answers requests: pynetdicom's log handlers spell out each PDU, whether or not anybody logs it."""
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))

    def _run_reactor(self) -> None:
        """The acceptor's loop of `Association._run_reactor`, with a turn of the upper layer in the place of its nap."""
        while not self._kill:
            self.dul.turn(TICK)
            context_id, message = self.dimse.get_msg(block=False)
            if message:
                self._serve_request(message, context_id)
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


def p_data(context_id: int, value: bytes) -> P_DATA:
    """A P-DATA primitive with one value; its first byte is the message control header (PS3.8, E.2)."""
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((context_id, value))
    return primitive
