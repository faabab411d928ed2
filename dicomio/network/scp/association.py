"""One accepted association: from the connection to its record in the spool."""

from __future__ import annotations

import itertools
import logging
import secrets
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.transport import AddressInformation

from dicomio.files.file_meta import encode_file_meta
from dicomio.files.spool import lost
from dicomio.files.spool.free_space import OUT_OF_DESCRIPTORS, SpoolFull
from dicomio.files.spool.notes import timestamp
from dicomio.files.spool.writer import SpoolWriter
from dicomio.network.scp.acceptor import AcceptorSocket, AcceptorUpperLayer
from dicomio.network.scp.association_request import WRONG_APPLICATION, WRONG_VERSION
from dicomio.network.scp.message_receiver import (
    Command,
    EmptyDataSet,
    IncomingDataSet,
    MessageReceiver,
    ObjectTooLarge,
)
from dicomio.network.scp.messages import ECHO_REQUEST, StoreRequest, command_field, encode_answer, encode_response
from dicomio.network.scp.presentation_contexts import acceptable_contexts
from dicomio.network.scp.protocol_errors import MalformedPDU
from dicomio.network.scp.upper_layer import CLOSE_SECONDS, UnthreadedAssociation

if TYPE_CHECKING:
    from pynetdicom import AE

    from dicomio.files.spool.spool import Spool
    from dicomio.network.listener.association_records import AssociationRecords
    from dicomio.network.listener.connection_table import ConnectionEntry
    from dicomio.network.listener.settings import ListenerSettings
    from dicomio.network.listener.storage_health import StorageHealth

LOG = logging.getLogger(__name__)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700  # PS3.4, table B.2-1
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110  # PS3.7, annex C
UNRECOGNIZED_OPERATION = 0x0211
UNKNOWN_CALLER = (0x01, 0x01, 0x03)  # permanent, by the service user, calling AE title not recognized (PS3.8, 9.3.4)
UNKNOWN_CALLED = (0x01, 0x01, 0x07)
TOO_MANY = (0x02, 0x03, 0x02)  # transient, by the presentation service, local limit exceeded
REASONS = {
    UNKNOWN_CALLER: "caller not allowed",
    UNKNOWN_CALLED: "called AE title is not ours",
    TOO_MANY: "too many associations, or too many from this address",
    WRONG_VERSION: "protocol version not supported",
    WRONG_APPLICATION: "application context not supported",
}


@dataclass(frozen=True)
class ProcessResources:
    """What all associations of a process share: its application entity, and where images go."""

    ae: AE
    settings: ListenerSettings
    spool: Spool
    health: StorageHealth
    records: AssociationRecords


class AcceptedAssociation(UnthreadedAssociation):
    """An association that we accept; `serve` runs it from start to end in the calling thread.

    Args:
        resources: What all associations of the process share.
        connection: The accepted connection, TLS done.
        address: Of the peer.
        entry: The connection in the table of connections.
        opened: When it was accepted, monotonic seconds.
    """

    messages = MessageReceiver
    upper_layer = AcceptorUpperLayer

    def __init__(
        self,
        resources: ProcessResources,
        connection: socket.socket,
        address: tuple[Any, ...],
        entry: ConnectionEntry,
        opened: float,
    ) -> None:
        super().__init__(resources.ae, MODE_ACCEPTOR)
        self.association_id = secrets.token_hex(8)
        self.settings = resources.settings
        self.peer_host = entry.host
        self.calling_ae = self.called_ae = ""
        self._resources = resources
        self._entry = entry
        self._opened = opened
        self._receipts = itertools.count(1)
        self._files: list[str] = []
        self._refused = 0
        self._lost: list[dict[str, Any]] = []
        self._opened_at = ""
        self._prepare(connection, address)

    def _prepare(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        """What pynetdicom's RequestHandler does for an accepted connection."""
        self.set_socket(AcceptorSocket(self, connection))
        self.acceptor.maximum_length = self.settings.max_pdu
        self.acceptor.ae_title = self.settings.ae_title
        self.acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
        self.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        self.acceptor.implementation_version_name = self.ae.implementation_version_name
        self.requestor.address_info = AddressInformation.from_tuple(address)
        self.bind(evt.EVT_REQUESTED, self._on_request)
        self.bind(evt.EVT_ESTABLISHED, self._on_established)

    def serve(self) -> None:
        """Run the association to its end, and leave its record in the spool."""
        try:
            self.run_reactor()
        finally:
            self.kill()
            self.dimse.discard()
        if self._opened_at:
            record = self._record()
            self._resources.records.write(self.association_id, record)
            fields = record | {"files": len(self._files), "lost": len(self._lost)}
            LOG.info("association_closed", extra={"fields": fields})

    def deadline(self, state: str) -> float:
        """Until when the next PDU has to begin, monotonic seconds; that of an association request, until it ends."""
        if state == "Sta2":
            return self._opened + self.settings.acse_timeout
        return time.monotonic() + (self.settings.network_timeout if self.is_established else CLOSE_SECONDS)

    def incoming_data_set(self, request: StoreRequest) -> IncomingDataSet:
        """Where the data set of `request` goes; raises MalformedPDU when its context was not accepted."""
        context = self._context(request.context_id)

        def open_writer() -> SpoolWriter:
            receipt = f"{self.association_id}-{next(self._receipts)}"
            head = encode_file_meta(
                sop_class_uid=request.sop_class_uid,
                sop_instance_uid=request.sop_instance_uid,
                transfer_syntax_uid=context.transfer_syntax[0],
                source_ae=self.calling_ae,
                receipt=receipt,
            )
            writer = self._resources.spool.open_writer(request.sop_instance_uid, receipt)
            try:
                writer.write(head)
            except BaseException:
                writer.discard()
                raise
            return writer

        return IncomingDataSet(open_writer, self.settings.max_object)

    def store(self, request: StoreRequest, data_set: IncomingDataSet) -> None:
        """Answer a request whose data set has come: success once it is durable."""
        status, comment = SUCCESS, ""
        try:
            self._files.append(data_set.commit())
            self._resources.health.works()
        except ObjectTooLarge as error:
            status, comment = OUT_OF_RESOURCES, "the object is too large"
            self._log_refusal(status, error)
        except EmptyDataSet as error:
            status, comment = CANNOT_UNDERSTAND, str(error)
            self._log_refusal(status, error)
        except SpoolFull as error:
            status, comment = OUT_OF_RESOURCES, "out of disk space"
            self._cannot_store(status, error)
        except Exception as error:
            lacking = isinstance(error, OSError) and error.errno in OUT_OF_DESCRIPTORS
            status = OUT_OF_RESOURCES if lacking else CANNOT_UNDERSTAND
            comment = "the image could not be stored"
            self._cannot_store(status, error)
        finally:
            data_set.discard()
        if status != SUCCESS:
            self.note_lost(request, data_set, lost.REFUSED, f"was refused: {comment}")
        self.dul.send_command(request.context_id, encode_response(request, status, comment))

    def note_lost(self, request: StoreRequest, data_set: IncomingDataSet, kind: str, reason: str) -> None:
        """Note an image that was not stored, for the record of this association."""
        named = replace(data_set.identity, sop_uid=request.sop_instance_uid, source_ae=self.calling_ae)
        self._lost.append(lost.note(kind, reason, named, timestamp(), association=self.association_id))

    def answer(self, context_id: int, command: Command) -> None:
        """Answer any other request: C-ECHO with whether images can be stored, everything else as unrecognized."""
        self._context(context_id)
        if command_field(command) != ECHO_REQUEST:
            status = UNRECOGNIZED_OPERATION
        else:
            status = SUCCESS if self._resources.health.check() else PROCESSING_FAILURE
        self.dul.send_command(context_id, encode_answer(command, status))

    def _context(self, context_id: int) -> Any:
        context = self._accepted_cx.get(context_id)
        if context is None:
            raise MalformedPDU(f"presentation context {context_id} was not accepted")
        return context

    def _on_request(self, event: evt.Event) -> None:
        """Before negotiation: reject peers that are not allowed, else support what they propose."""
        asked = self.dul.request
        self.calling_ae, self.called_ae = asked.calling_ae, asked.called_ae
        reason = asked.rejection or self._reason_to_reject()
        if reason is not None:
            fields = {
                "calling_ae": self.calling_ae,
                "called_ae": self.called_ae,
                "peer_host": self.peer_host,
                "reason": REASONS[reason],
            }
            LOG.warning("association_rejected", extra={"fields": fields})
            self.acse.send_reject(*reason)
            return
        self.acceptor.supported_contexts = acceptable_contexts(
            self.requestor.primitive.presentation_context_definition_list
        )

    def _reason_to_reject(self) -> tuple[int, int, int] | None:
        """Reason to reject, None to accept. Peers that are not allowed do not count against the limits."""
        try:
            if self.settings.check_called_ae and self.called_ae != self.settings.ae_title:
                return UNKNOWN_CALLED
            if not self.settings.allows(self.calling_ae, self.peer_host):
                return UNKNOWN_CALLER
            return None if self._entry.associate() else TOO_MANY
        except Exception:  # pynetdicom would log it and accept
            LOG.exception("association_check_failed")
            return UNKNOWN_CALLER

    def _on_established(self, event: evt.Event) -> None:
        self._opened_at = timestamp()

    def _cannot_store(self, status: int, error: Exception) -> None:
        self._log_refusal(status, error)
        self._resources.health.failed(str(error))

    def _log_refusal(self, status: int, error: Exception) -> None:
        self._refused += 1
        fields = {"association_id": self.association_id, "status": f"0x{status:04X}", "reason": str(error)}
        LOG.error("store_refused", extra={"fields": fields})

    def _record(self) -> dict[str, Any]:
        return {
            "association_id": self.association_id,
            "calling_ae": self.calling_ae,
            "called_ae": self.called_ae,
            "peer_host": self.peer_host,
            "opened_at": self._opened_at,
            "closed_at": timestamp(),
            "how": "released" if self.is_released else "lost" if self.dul.lost else "aborted",
            "files": self._files,
            "refused": self._refused,
            "lost": self._lost,
        }
