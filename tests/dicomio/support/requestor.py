"""An association whose PDUs a test sends and reads by hand, in its own thread."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom._globals import MODE_REQUESTOR
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.transport import T_CONNECT, AddressInformation

from dicomio.network.polled_socket import PolledSocket, set_options
from dicomio.network.scp.upper_layer import UnthreadedAssociation
from dicomio.network.scu.association import Peer


class _Messages(DIMSEServiceProvider):  # type: ignore[misc]
    def get_msg(self, block: bool = False) -> Any:
        """The next message: (context id, message), or (None, None)."""
        if block:
            self.dul.run_until(lambda: self.msg_queue.queue, self.dimse_timeout)
        return super().get_msg(block=False)


class Requestor(UnthreadedAssociation):
    """The requestor of an association; whatever it waits for, it makes the turns itself."""

    messages = _Messages


class _Socket(PolledSocket):
    def __init__(self, assoc: Requestor, peer: Peer) -> None:
        super().__init__(assoc, address=AddressInformation("127.0.0.1", 0))
        self._peer = peer

    def _create_socket(self, address: AddressInformation) -> None:
        """Nothing yet."""

    def connect(self, primitive: T_CONNECT) -> None:
        self.socket = socket.create_connection((self._peer.host, self._peer.port), self._peer.connect_timeout)
        set_options(self.socket, self._peer.dimse_timeout)
        self._is_connected = True
        primitive.result = "Evt2"
        self.provider_queue.put(primitive)
        self._ready.set()


@contextmanager
def association(peer: Peer, contexts: Sequence[PresentationContext]) -> Iterator[Requestor]:
    """An established association, released at the end if it still is."""
    entity = AE(peer.calling_ae)
    entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = peer.acse_timeout, peer.dimse_timeout, None
    asked = Requestor(entity, MODE_REQUESTOR)
    asked.set_socket(_Socket(asked, peer))
    asked.acceptor.ae_title, asked.requestor.ae_title = peer.ae_title, peer.calling_ae
    asked.acceptor.address_info = asked.requestor.address_info = AddressInformation("127.0.0.1", peer.port)
    asked.requestor.maximum_length = entity.maximum_pdu_size
    asked.requestor.implementation_class_uid = entity.implementation_class_uid
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    asked.requestor.requested_contexts = list(contexts)
    asked.request()
    assert asked.is_established
    try:
        yield asked
    except BaseException:
        asked.abort()
        raise
    if asked.is_established:
        asked.release()


def data_primitive(context_id: int, value: bytes) -> P_DATA:
    """A P-DATA primitive with one value; its first byte is the message control header (PS3.8, E.2)."""
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((context_id, value))
    return primitive


def encode_request(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """The command set of a C-STORE request with a data set, of medium priority; the UIDs may be whatever they like."""
    body = _element(0x0002, _padded(sop_class_uid)) + _element(0x0100, b"\x01\x00")
    body += _element(0x0110, struct.pack("<H", message_id)) + _element(0x0700, b"\x00\x00")
    body += _element(0x0800, b"\x01\x00") + _element(0x1000, _padded(sop_instance_uid))
    return _element(0x0000, struct.pack("<I", len(body))) + body


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def _padded(uid: str) -> bytes:
    return uid.encode() + bytes(len(uid) % 2)


@contextmanager
def raw_association(port: int, *contexts: tuple[str, str]) -> Iterator[Requestor]:
    """An association that lets us send bytes, whatever they are."""
    proposals = [build_context(*context) for context in contexts or ((CTImageStorage, ExplicitVRLittleEndian),)]
    with association(Peer(ae_title="SCANWARD", host="127.0.0.1", port=port, calling_ae="CT1"), proposals) as opened:
        yield opened


def store(opened: Requestor, sop_instance: str, data: bytes) -> int:
    """C-STORE of any bytes, a piece at a time; returns the status."""
    opened.dul.send_pdu(data_primitive(1, b"\x03" + encode_request(1, CTImageStorage, f"1.2.{sop_instance}")))
    for at in range(0, len(data), 100_000):
        last = b"\x02" if at + 100_000 >= len(data) else b"\x00"
        opened.dul.send_pdu(data_primitive(1, last + data[at : at + 100_000]))
    _, answer = opened.dimse.get_msg(block=True)
    return int(answer.Status)


def pynetdicom_association(
    port: int, *contexts: tuple[str, list[str]], called: str = "SCANWARD", calling_ae: str = "CT1"
) -> Association:
    """An association that pynetdicom itself opens."""
    entity = AE(calling_ae)
    for sop_class, syntaxes in contexts or ((CTImageStorage, [ExplicitVRLittleEndian]),):
        entity.add_requested_context(sop_class, syntaxes)
    return entity.associate("127.0.0.1", port, ae_title=called)
