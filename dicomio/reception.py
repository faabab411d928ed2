"""One association of a listener process: from the connection to its record in the spool."""

from __future__ import annotations

import itertools
import logging
import secrets
import socket
from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.transport import AddressInformation

from dicomio.filemeta import file_head
from dicomio.incoming import IncomingDataSet, ReceivingMessages
from dicomio.listener_settings import ListenerSettings
from dicomio.negotiation import contexts_for
from dicomio.polled_socket import PolledSocket
from dicomio.spool import Part, Spool, SpoolFull, timestamp
from dicomio.upper_layer import UnthreadedAssociation

LOG = logging.getLogger(__name__)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700  # PS3.4, table B.2-1
CANNOT_UNDERSTAND = 0xC000
UNKNOWN_CALLER = (0x01, 0x01, 0x03)  # permanent, by the service user, calling AE title not recognized (PS3.8, 9.3.4)
UNKNOWN_CALLED = (0x01, 0x01, 0x07)
TOO_MANY = (0x02, 0x03, 0x02)  # transient, by the presentation service, local limit exceeded
REASONS = {UNKNOWN_CALLER: "caller not allowed", UNKNOWN_CALLED: "called AE title is not ours", TOO_MANY: "too many"}


class Reception(UnthreadedAssociation):
    """An association that we accept; `serve` runs it from start to end in the calling thread.

    Args:
        ae: The process's application entity.
        settings: The listener's settings.
        spool: Where the images go.
        connection: The accepted connection, TLS done.
        address: Of the peer.
        stored: Called after each image that is durable.
        full: Whether this association is one too many.
    """

    messages = ReceivingMessages

    def __init__(
        self,
        ae: AE,
        settings: ListenerSettings,
        spool: Spool,
        connection: socket.socket,
        address: tuple[Any, ...],
        *,
        stored: Callable[[], None],
        full: Callable[[], bool],
    ) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        self.association_id = secrets.token_hex(8)
        self.settings = settings
        self.spool = spool
        self.peer_host = str(address[0]).removeprefix("::ffff:")
        self._stored, self._full = stored, full
        self._receipts = itertools.count(1)
        self._files: list[str] = []
        self._refused = 0
        self._opened_at = ""
        self._prepare(connection, address)

    def _prepare(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        """What pynetdicom's RequestHandler does for an accepted connection."""
        self.set_socket(PolledSocket(self, client_socket=connection))
        self.acceptor.maximum_length = self.settings.max_pdu
        self.acceptor.ae_title = self.settings.ae_title
        self.acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
        self.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        self.acceptor.implementation_version_name = self.ae.implementation_version_name
        self.requestor.address_info = AddressInformation.from_tuple(address)
        self.bind(evt.EVT_REQUESTED, self._on_request)
        self.bind(evt.EVT_ESTABLISHED, self._on_established)
        self.bind(evt.EVT_C_STORE, self._on_store)
        self.bind(evt.EVT_C_ECHO, lambda event: SUCCESS)

    def serve(self) -> None:
        """Run the association to its end, and leave its record in the spool."""
        try:
            self.run_reactor()
        finally:
            self.kill()
            self.dimse.discard()
        if self._opened_at:
            record = self._record()
            self.spool.record_association(self.association_id, record)
            self._stored()
            fields = {key: value for key, value in record.items() if key != "files"} | {"files": len(self._files)}
            LOG.info("association_closed", extra={"fields": fields})

    def incoming(self, request: C_STORE) -> IncomingDataSet:
        """Where the data set of `request` goes."""

        def open_part() -> Part:
            receipt = f"{self.association_id}-{next(self._receipts)}"
            head = file_head(
                sop_class_uid=request.AffectedSOPClassUID,
                sop_instance_uid=request.AffectedSOPInstanceUID,
                transfer_syntax_uid=self._accepted_cx[request._context_id].transfer_syntax[0],
                source_ae=self.requestor.ae_title,
                receipt=receipt,
            )
            part = self.spool.open_part(request.AffectedSOPInstanceUID, receipt)
            part.write(head)
            return part

        return IncomingDataSet(open_part)

    def _on_request(self, event: evt.Event) -> None:
        """Before negotiation: say no to whom we do not know, else support what is proposed."""
        request = self.requestor.primitive
        reason = self._reason_to_reject(request.calling_ae_title, request.called_ae_title)
        if reason is not None:
            fields = {
                "calling_ae": request.calling_ae_title,
                "called_ae": request.called_ae_title,
                "peer_host": self.peer_host,
                "reason": REASONS[reason],
            }
            LOG.warning("association_rejected", extra={"fields": fields})
            self.acse.send_reject(*reason)
            return
        self.acceptor.supported_contexts = contexts_for(request.presentation_context_definition_list)

    def _serve_request(self, message: Any, context_id: int) -> None:
        """C-STORE means storage, whether or not pynetdicom knows the SOP class; all else as pynetdicom does."""
        context = self._accepted_cx.get(context_id)
        if isinstance(message, C_STORE) and context is not None:
            StorageServiceClass(self).SCP(message, context)
        else:
            super()._serve_request(message, context_id)

    def _reason_to_reject(self, calling: str, called: str) -> tuple[int, int, int] | None:
        try:
            if self._full():
                return TOO_MANY
            if self.settings.check_called_ae and called.strip() != self.settings.ae_title:
                return UNKNOWN_CALLED
            return None if self.settings.allows(calling.strip(), self.peer_host) else UNKNOWN_CALLER
        except Exception:  # pynetdicom would log it and accept
            LOG.exception("association_check_failed")
            return UNKNOWN_CALLER

    def _on_established(self, event: evt.Event) -> None:
        self._opened_at = timestamp()

    def _on_store(self, event: evt.Event) -> int | Dataset:
        try:
            name = event.request.DataSet.commit()
        except SpoolFull as error:
            return self._refuse(OUT_OF_RESOURCES, error, "out of disk space")
        except Exception as error:
            return self._refuse(CANNOT_UNDERSTAND, error, "the image could not be stored")
        finally:
            event.request.DataSet.discard()
        self._files.append(name)
        self._stored()
        return SUCCESS

    def _refuse(self, status: int, error: Exception, comment: str) -> Dataset:
        self._refused += 1
        fields = {"association_id": self.association_id, "status": f"0x{status:04X}", "reason": str(error)}
        LOG.error("store_refused", extra={"fields": fields})
        answer = Dataset()
        answer.Status = status
        answer.ErrorComment = comment
        return answer

    def _record(self) -> dict[str, Any]:
        return {
            "association_id": self.association_id,
            "calling_ae": self.requestor.ae_title,
            "called_ae": self.requestor.primitive.called_ae_title,
            "peer_host": self.peer_host,
            "opened_at": self._opened_at,
            "closed_at": timestamp(),
            "how": "released" if self.is_released else "lost" if self.dul.lost else "aborted",
            "files": self._files,
            "refused": self._refused,
        }
