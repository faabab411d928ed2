"""The upper layer of an accepted association: deadlines, limits, and P-DATA outside pynetdicom's state machine.

What leads to an association and away from it (accept, reject, release, abort) goes through pynetdicom's state machine.
Data of an established association do not: they are handed on while they are read. Whatever a peer does wrong ends as
A-ABORT with a reason (PS3.8, 9.3.8) and one line of the log.
"""

from __future__ import annotations

import logging
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, Any, Protocol

from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RQ, A_RELEASE_RQ
from pynetdicom.pdu_items import PresentationContextItemAC, TransferSyntaxSubItem

from dicomio.network.polled_socket import PolledSocket
from dicomio.network.scp.association_request import AssociationRequest, parse_association_request
from dicomio.network.scp.protocol_errors import (
    MalformedPDU,
    MessageTooLarge,
    PeerTooSlow,
    ProtocolViolation,
    UnexpectedPDU,
    UnknownPDU,
)
from dicomio.network.scp.upper_layer import CLOSE_SECONDS, TICK, UnthreadedUpperLayer

if TYPE_CHECKING:
    from dicomio.network.listener.settings import ListenerSettings
    from dicomio.network.scp.message_receiver import MessageReceiver

LOG = logging.getLogger(__name__)

ASSOCIATE_RQ, DATA_PDU, RELEASE_RQ, ABORT = 0x01, 0x04, 0x05, 0x07
LAST_PDU = ABORT
LARGEST_CONTROL_PDU = 1 << 10  # all but A-ASSOCIATE-RQ have ten bytes
PDV_HEADER = 6
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
_TICK = struct.pack("ll", 0, int(TICK * 1e6))


class LimitedAssociation(Protocol):
    """What the upper layer needs to know of the association that it carries: its limits, and who asked for it."""

    settings: ListenerSettings
    dimse: MessageReceiver
    requestor: Any
    association_id: str
    peer_host: str
    is_established: bool
    end_soon: bool

    def deadline(self, state: str) -> float:
        """Until when the next PDU has to begin, monotonic seconds."""


class AcceptorSocket(PolledSocket):
    """The socket of a connection that we accepted: no read and no write goes on beyond `deadline`."""

    def __init__(self, assoc: LimitedAssociation, connection: socket.socket) -> None:
        super().__init__(assoc, client_socket=connection)
        self.deadline = float("inf")
        self._flags = 0
        if isinstance(connection, ssl.SSLSocket):
            connection.settimeout(TICK)
        else:  # let the kernel wait for all of it, instead of poll(2) before each piece
            self._flags = socket.MSG_WAITALL
            connection.settimeout(None)
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                connection.setsockopt(socket.SOL_SOCKET, option, _TICK)

    def recv_into(self, view: memoryview) -> int:
        """Fill `view`; returns how much of it was filled when the connection ends before; raises PeerTooSlow."""
        filled, sock = 0, self.socket
        while sock is not None and filled < len(view):
            try:
                count = sock.recv_into(view[filled:], 0, self._flags)
            except (TimeoutError, BlockingIOError):
                count = -1
            if not count:
                break
            filled += max(0, count)
            if filled < len(view):
                self._check()
        return filled

    def send(self, data: bytes) -> None:
        """Send all of `data`; raises PeerTooSlow or OSError."""
        view, sock = memoryview(data), self.socket
        while sock is not None and view:
            try:
                view = view[sock.send(view) :]
            except (TimeoutError, BlockingIOError):
                self._check()

    def drain(self) -> bool:
        """Throw away what is there to be read; False when the connection has ended."""
        try:
            return self.socket is not None and bool(self.socket.recv(1 << 16))
        except (TimeoutError, BlockingIOError):
            return True
        except OSError:
            return False

    def _check(self) -> None:
        if time.monotonic() > self.deadline or self.assoc.end_soon:
            raise PeerTooSlow("nothing more came in time")


class AcceptorUpperLayer(UnthreadedUpperLayer):
    """The upper layer service provider of such an association.

    Attributes:
        request: What the peer asked for, once it has.
        lost: Whether the connection ended, or the peer fell silent, before the association did.
    """

    assoc: LimitedAssociation

    def __init__(self, assoc: LimitedAssociation) -> None:
        super().__init__(assoc)
        self._buffer = bytearray()
        self._abort_reason = 0x00
        self.request: AssociationRequest | None = None
        self.lost = False

    def send_command(self, context_id: int, command: bytes) -> None:
        """Send a command set in P-DATA-TF PDUs that the peer can take (PS3.8, 9.3.5 and D.1)."""
        largest = self.assoc.requestor.maximum_length or len(command)
        step = max(128, largest - PDV_HEADER)
        self.socket.deadline = time.monotonic() + self.assoc.settings.pdu_timeout
        for at in range(0, len(command), step):
            piece = command[at : at + step]
            control = 3 if at + step >= len(command) else 1
            head = struct.pack(">BxIIBB", DATA_PDU, len(piece) + 6, len(piece) + 2, context_id, control)
            self.socket.send(head + piece)

    def kill_dul(self) -> None:
        """Stop; connection and buffer are freed."""
        super().kill_dul()
        self._buffer = bytearray()

    def _is_transport_event(self) -> bool:
        """Whether data came; once the association has ended, they are thrown away."""
        if self.event_queue.queue:  # one thing after the other
            return False
        if self.state_machine.current_state != "Sta13":
            return bool(super()._is_transport_event())
        if self.socket.ready and not self.socket.drain():
            self.event_queue.put("Evt17")
        return True

    def _read_pdu_data(self) -> None:
        """Read a PDU, and those that follow it for as long as a message has not ended."""
        try:
            while self._read_pdu() and self.assoc.dimse.is_within_message:
                self._idle_timer.restart()
        except ProtocolViolation as fault:
            self._abort_with_reason(fault)
        except OSError as error:
            self._lose_connection(str(error))
        except Exception:  # our own error; the association is aborted
            LOG.exception("association_failed")
            self.event_queue.put("Evt19")

    def _abort_with_reason(self, fault: ProtocolViolation) -> None:
        fields = {"association_id": self.assoc.association_id, "peer_host": self.assoc.peer_host, "reason": str(fault)}
        LOG.warning("association_aborted", extra={"fields": fields})
        self._abort_reason = fault.abort_reason
        self.lost = self.lost or isinstance(fault, PeerTooSlow)
        self.event_queue.put("Evt19")

    def _lose_connection(self, reason: str) -> None:
        fields = {"association_id": self.assoc.association_id, "peer_host": self.assoc.peer_host, "reason": reason}
        LOG.warning("connection_lost", extra={"fields": fields})
        self._lose()

    def _lose(self) -> None:
        self.lost = self.lost or self.state_machine.current_state != "Sta13"  # in Sta13 the end is expected
        self.event_queue.put("Evt17")  # transport connection closed

    def _read_pdu(self) -> bool:
        """Whether a PDU was read that leaves the association as it is."""
        self.socket.deadline = self.assoc.deadline(self.state_machine.current_state)
        header = memoryview(bytearray(6))
        if self.socket.recv_into(header) < 6:
            self._lose()
            return False
        kind, length = header[0], int.from_bytes(header[2:], "big")
        if kind == DATA_PDU:
            return self._read_p_data(length)
        body = self._read_body(kind, length)
        if body is None:
            self._lose()
        elif kind == ASSOCIATE_RQ:
            self._take_request(body)
        else:
            self._take_control(kind)
        return False

    def _read_body(self, kind: int, length: int) -> bytes | None:
        """The rest of a PDU that is no P-DATA; None when the connection ends before."""
        if not 0 < kind <= LAST_PDU:
            raise UnknownPDU(f"a PDU of type 0x{kind:02X}")
        waiting = self.state_machine.current_state == "Sta2"
        if kind not in ((ASSOCIATE_RQ, ABORT) if waiting else (RELEASE_RQ, ABORT)):
            raise UnexpectedPDU(f"a PDU of type 0x{kind:02X} at this point")
        limit = self.assoc.settings.max_request if kind == ASSOCIATE_RQ else LARGEST_CONTROL_PDU
        if length > limit:
            raise MessageTooLarge(f"a PDU of type 0x{kind:02X} with {length} bytes, more than {limit}")
        if self.assoc.is_established:
            self.socket.deadline = time.monotonic() + self.assoc.settings.pdu_timeout
        body = bytearray(length)
        return bytes(body) if self.socket.recv_into(memoryview(body)) == length else None

    def _take_request(self, body: bytes) -> None:
        self.request = parse_association_request(body)
        pdu = A_ASSOCIATE_RQ()
        try:
            pdu.decode(self.request.clean)
        except Exception as error:  # pynetdicom raises whatever it likes
            raise MalformedPDU(f"an A-ASSOCIATE-RQ that cannot be read: {type(error).__name__}") from error
        self._recv_pdu.put(pdu)
        self.event_queue.put("Evt6")

    def _take_control(self, kind: int) -> None:
        """A-RELEASE-RQ or A-ABORT; their other fields change nothing for us."""
        self._recv_pdu.put(A_RELEASE_RQ() if kind == RELEASE_RQ else _plain_abort())
        self.event_queue.put("Evt12" if kind == RELEASE_RQ else "Evt16")

    def _read_p_data(self, length: int) -> bool:
        settings = self.assoc.settings
        if not self.assoc.is_established or self.state_machine.current_state != "Sta6":
            raise UnexpectedPDU("P-DATA without an association")
        if length > settings.largest_data_pdu:
            raise MessageTooLarge(f"a P-DATA PDU with {length} bytes, more than {settings.largest_data_pdu}")
        if length > len(self._buffer):
            self._buffer = bytearray(max(length, settings.max_pdu))
        body = memoryview(self._buffer)[:length]
        self.socket.deadline = time.monotonic() + settings.pdu_timeout
        if self.socket.recv_into(body) < length:
            self._lose()
            return False
        self._hand_on(body)
        return True

    def _hand_on(self, body: memoryview) -> None:
        """Each presentation data value of a PDU (PS3.8, 9.3.5.1)."""
        receive, at = self.assoc.dimse.receive, 0
        while at < len(body):
            length = int.from_bytes(body[at : at + 4], "big")
            end = at + 4 + length
            if length < 2 or end > len(body):
                raise MalformedPDU("a presentation data value is longer than its PDU")
            receive(body[at + 4], body[at + 5], body[at + 6 : end])
            at = end

    def _send(self, pdu: Any) -> None:
        """Name in A-ASSOCIATE-AC what pynetdicom did not see, and in A-ABORT why."""
        if isinstance(pdu, A_ASSOCIATE_AC) and self.request is not None:
            pdu.variable_items[-1:-1] = [_refusal(*refused) for refused in self.request.refused.items()]
        if isinstance(pdu, A_ABORT_RQ) and self._abort_reason:
            pdu.source, pdu.reason_diagnostic = 0x02, self._abort_reason
        self.socket.deadline = time.monotonic() + (
            CLOSE_SECONDS if isinstance(pdu, A_ABORT_RQ) else TICK + CLOSE_SECONDS
        )
        try:
            super()._send(pdu)
        except (OSError, ProtocolViolation) as error:  # the peer has gone
            LOG.debug("not_sent", extra={"fields": {"reason": str(error)}})


def _plain_abort() -> A_ABORT_RQ:
    pdu = A_ABORT_RQ()
    pdu.source = pdu.reason_diagnostic = 0x00
    return pdu


def _refusal(context_id: int, result: int) -> PresentationContextItemAC:
    """A presentation context that is not accepted (PS3.8, 9.3.3.2); its transfer syntax means nothing."""
    syntax = TransferSyntaxSubItem()
    syntax.transfer_syntax_name = IMPLICIT_LITTLE_ENDIAN
    item = PresentationContextItemAC()
    item.presentation_context_id, item.result_reason = context_id, result
    item.transfer_syntax_sub_item = [syntax]
    return item
