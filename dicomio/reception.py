"""One association of a listener process: from the connection to its record in the spool."""

from __future__ import annotations

import itertools
import logging
import secrets
import socket
from collections.abc import Callable
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import NonPatientObjectStorageServiceClass, ServiceClass, StorageServiceClass
from pynetdicom.sop_class import Verification, uid_to_service_class
from pynetdicom.transport import AddressInformation

from dicomio.filemeta import file_head
from dicomio.listener_settings import ListenerSettings
from dicomio.spool import Part, Spool, SpoolFull, timestamp
from dicomio.store_messages import decode_request, encode_response, parse_command
from dicomio.upper_layer import PolledSocket, UnthreadedAssociation, UnthreadedMessages, p_data

LOG = logging.getLogger(__name__)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700  # PS3.4, table B.2-1
CANNOT_UNDERSTAND = 0xC000
UNKNOWN_CALLER = (0x01, 0x01, 0x03)  # permanent, by the service user, calling AE title not recognized (PS3.8, 9.3.4)
UNKNOWN_CALLED = (0x01, 0x01, 0x07)
TOO_MANY = (0x02, 0x03, 0x02)  # transient, by the presentation service, local limit exceeded
REASONS = {UNKNOWN_CALLER: "caller not allowed", UNKNOWN_CALLED: "called AE title is not ours", TOO_MANY: "too many"}
STORAGE_ARC = "1.2.840.10008.5.1.4.1.1."
LARGEST_COMMAND = 1 << 16
LARGEST_OTHER_DATA_SET = 1 << 20  # data sets other than those of C-STORE stay in memory

# These are switches of the process; only listener processes import this module.
_config.CODECS = ("ascii", "latin-1")  # AE titles of some modalities
_config.VALIDATORS["UI"] = lambda uid: (len(uid) <= 128, "longer than 128 characters")


class IncomingDataSet(BytesIO):
    """The data set of one C-STORE request, on its way to the spool instead of into memory.

    What goes wrong is kept in `failure` and answered when the data set has ended: the association stays usable.
    """

    def __init__(self, open_part: Callable[[], Part]) -> None:
        super().__init__()
        self._open_part = open_part
        self._part: Part | None = None
        self.failure: Exception | None = None

    def write(self, fragment: Any) -> int:
        """Append a fragment to the file in the spool."""
        if self.failure is None:
            try:
                if self._part is None:
                    self._part = self._open_part()
                self._part.write(fragment)
            except (OSError, SpoolFull) as error:
                self.discard()
                self.failure = error
        return len(fragment)

    def commit(self) -> str:
        """Make the file durable; returns its name, raises what went wrong on the way."""
        if self.failure is not None:
            raise self.failure
        if self._part is None:
            raise ValueError("the data set is empty")
        return self._part.commit().name

    def discard(self) -> None:
        """Leave nothing behind; harmless after `commit`."""
        if self._part is not None:
            self._part.discard()


class ReceivingMessages(UnthreadedMessages):
    """Takes C-STORE requests apart as their fragments arrive, and leaves all other messages to pynetdicom."""

    def __init__(self, assoc: Reception) -> None:
        super().__init__(assoc)
        self._command = bytearray()
        self._request: C_STORE | None = None
        self._other_bytes = 0

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Process fragments; PS3.8, annex E.2: bit 0 of the first byte says command, bit 1 last."""
        for context_id, value in primitive.presentation_data_value_list:
            if value[0] & 1:
                self._receive_command(context_id, value)
            elif self._request is None:
                self._other_bytes += len(value)
                _limit(self._other_bytes, LARGEST_OTHER_DATA_SET)
                self._pass_on(context_id, bytes(value))
            else:
                self._request.DataSet.write(value[1:])
                if value[0] & 2:
                    self.msg_queue.put((context_id, self._request))
                    self._request = None

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message."""
        if isinstance(primitive, C_STORE):
            self.dul.send_pdu(p_data(context_id, b"\x03" + encode_response(primitive)))
        else:
            super().send_msg(primitive, context_id)

    def discard(self) -> None:
        """Forget a data set that was cut off."""
        if self._request is not None:
            self._request.DataSet.discard()

    def _receive_command(self, context_id: int, value: memoryview) -> None:
        self._command += value[1:]
        _limit(len(self._command), LARGEST_COMMAND)
        if not value[0] & 2:
            return
        command, self._command, self._other_bytes = bytes(self._command), bytearray(), 0
        self._request = decode_request(context_id, parse_command(command))
        if self._request is None:
            self._pass_on(context_id, b"\x03" + command)
        else:
            self._request.DataSet = self.assoc.incoming(self._request)

    def _pass_on(self, context_id: int, value: bytes) -> None:
        super().receive_primitive(p_data(context_id, value))


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
            head = file_head(
                sop_class_uid=request.AffectedSOPClassUID,
                sop_instance_uid=request.AffectedSOPInstanceUID,
                transfer_syntax_uid=self._accepted_cx[request._context_id].transfer_syntax[0],
                source_ae=self.requestor.ae_title,
            )
            receipt = f"{self.association_id}-{next(self._receipts)}"
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


def contexts_for(proposed: list[PresentationContext]) -> list[PresentationContext]:
    """What we support of what a peer proposes: storage and C-ECHO, each in the first transfer syntax that it names.

    The proposals are cut down to that first one, so that pynetdicom has nothing to choose from.
    """
    supported: dict[UID, PresentationContext] = {}
    for proposal in proposed:
        if proposal.abstract_syntax != Verification and not is_storage(proposal.abstract_syntax):
            continue
        proposal.transfer_syntax = proposal.transfer_syntax[:1]
        context = supported.setdefault(proposal.abstract_syntax, PresentationContext())
        context.abstract_syntax = proposal.abstract_syntax
        context.add_transfer_syntax(proposal.transfer_syntax[0])
    return list(supported.values())


def is_storage(sop_class: UID) -> bool:
    """Whether a SOP class is for storing, or private or too new to be known, which is taken for storing."""
    service = uid_to_service_class(sop_class)
    if service in (StorageServiceClass, NonPatientObjectStorageServiceClass):
        return True
    unknown = sop_class.name == str(sop_class)  # pydicom's dictionary knows the standard, also what was retired
    retired = sop_class.startswith(STORAGE_ARC) or " Storage" in sop_class.name
    return service is ServiceClass and (unknown or retired)


def _limit(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"a message of more than {limit} bytes that is no image")
