"""An association whose PDUs a test sends and reads by hand, in its own thread."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pynetdicom import AE
from pynetdicom._globals import MODE_REQUESTOR
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import T_CONNECT, AddressInformation

from dicomio.calling import Peer
from dicomio.polled_socket import PolledSocket, tune
from dicomio.upper_layer import UnthreadedAssociation


class _Socket(PolledSocket):
    def __init__(self, assoc: UnthreadedAssociation, peer: Peer) -> None:
        super().__init__(assoc, address=AddressInformation("127.0.0.1", 0))
        self._peer = peer

    def _create_socket(self, address: AddressInformation) -> None:
        """Nothing yet."""

    def connect(self, primitive: T_CONNECT) -> None:
        self.socket = socket.create_connection((self._peer.host, self._peer.port), self._peer.connect_timeout)
        tune(self.socket, self._peer.dimse_timeout)
        self._is_connected = True
        primitive.result = "Evt2"
        self.provider_queue.put(primitive)
        self._ready.set()


@contextmanager
def association(peer: Peer, contexts: Sequence[PresentationContext]) -> Iterator[UnthreadedAssociation]:
    """An established association, released at the end if it still is."""
    entity = AE(peer.calling_ae)
    entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = peer.acse_timeout, peer.dimse_timeout, None
    asked = UnthreadedAssociation(entity, MODE_REQUESTOR)
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
