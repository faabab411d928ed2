"""Opening an association with another application entity, and what can go wrong with that."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pynetdicom import AE
from pynetdicom._globals import MODE_REQUESTOR
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import T_CONNECT, AddressInformation

from dicomio.errors import PeerRefused, PeerUnreachable
from dicomio.polled_socket import PolledSocket, tune
from dicomio.tls import TLSFiles
from dicomio.upper_layer import UnthreadedAssociation

MOST_CONTEXTS = 128  # PS3.8, 9.3.2.2: context ids are the odd numbers up to 255
PERMANENT = 0x01


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another application entity.

    Attributes:
        ae_title: Its AE title.
        host: Its address or name.
        port: Its TCP port.
        calling_ae: The AE title that we call ourselves.
        tls: Files for TLS; None: plain TCP.
        connect_timeout: Seconds that it has to accept the connection.
        acse_timeout: Seconds that it has to answer an association request.
        dimse_timeout: Seconds that it has to answer a message; storing may take it a while.
    """

    ae_title: str
    host: str
    port: int
    calling_ae: str = "SCANWARD"
    tls: TLSFiles | None = None
    connect_timeout: float = 10.0
    acse_timeout: float = 30.0
    dimse_timeout: float = 120.0

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"

    def refused(self, reason: str) -> PeerRefused:
        """The error for when this peer says no."""
        return PeerRefused(peer=str(self), reason=reason)

    def unreachable(self, reason: str) -> PeerUnreachable:
        """The error for when this peer does not answer."""
        return PeerUnreachable(peer=str(self), reason=reason)


class CallingSocket(PolledSocket):
    """The socket of an association that we ask for."""

    def __init__(self, assoc: UnthreadedAssociation, peer: Peer, context: ssl.SSLContext | None) -> None:
        super().__init__(assoc, address=AddressInformation("127.0.0.1", 0))
        self._peer = peer
        self._context = context
        self.error: OSError | None = None

    def _create_socket(self, address: AddressInformation) -> None:
        """Nothing yet: which kind of socket it takes is known when the name is looked up."""

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect to the first address of the peer that answers, and shake hands if it is TLS."""
        peer = self._peer
        try:
            connection = socket.create_connection((peer.host, peer.port), peer.connect_timeout)
            tune(connection, peer.connect_timeout)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_hostname=peer.host)
            connection.settimeout(peer.dimse_timeout)
        except OSError as error:
            self.error = error
            primitive.result = "Evt17"
        else:
            self.socket = connection
            self._is_connected = True
            primitive.result = "Evt2"
        self.provider_queue.put(primitive)
        self._ready.set()


@contextmanager
def association(peer: Peer, contexts: Sequence[PresentationContext]) -> Iterator[UnthreadedAssociation]:
    """An established association, released at the end (aborted when an exception ends it).

    Args:
        peer: Whom to call.
        contexts: What to propose, at most 128.

    Raises:
        PeerRefused: It rejects us, accepts nothing that we propose, or its or our TLS setting is wrong.
        PeerUnreachable: It does not answer, hangs up, or is too busy.
    """
    opened = _request(peer, contexts)
    try:
        yield opened
    except BaseException:
        opened.abort()
        raise
    if opened.is_established:
        opened.release()


def _request(peer: Peer, contexts: Sequence[PresentationContext]) -> UnthreadedAssociation:
    """What `AE.associate` does, with our kind of association and socket."""
    asked = UnthreadedAssociation(_application_entity(peer), MODE_REQUESTOR)
    connection = CallingSocket(asked, peer, _tls_context(peer))
    asked.set_socket(connection)
    asked.acceptor.ae_title = peer.ae_title
    asked.acceptor.address_info = AddressInformation("127.0.0.1", peer.port)  # the socket knows better
    asked.requestor.address_info = AddressInformation("127.0.0.1", 0)
    asked.requestor.ae_title = peer.calling_ae
    asked.requestor.maximum_length = asked.ae.maximum_pdu_size
    asked.requestor.implementation_class_uid = asked.ae.implementation_class_uid
    asked.requestor.implementation_version_name = asked.ae.implementation_version_name
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    asked.requestor.requested_contexts = list(contexts)
    asked.request()
    if not asked.is_established:
        asked.kill()
        raise _explanation(peer, asked, connection)
    return asked


def _explanation(peer: Peer, asked: UnthreadedAssociation, connection: CallingSocket) -> PeerRefused | PeerUnreachable:
    """Why there is no association."""
    if isinstance(connection.error, ssl.SSLError):
        return peer.refused(f"TLS: {connection.error.reason or connection.error}")
    if connection.error is not None:
        return peer.unreachable(connection.error.strerror or str(connection.error))
    answer = asked.acceptor.primitive
    if asked.is_rejected and answer is not None:
        reason = f"association rejected: {answer.reason_str[:1].lower()}{answer.reason_str[1:]}"
        return peer.refused(reason) if answer.result == PERMANENT else peer.unreachable(reason)
    if asked.rejected_contexts:
        return peer.refused("it accepts none of the SOP classes and transfer syntaxes that were proposed")
    if asked.dul.lost:
        return peer.unreachable("it closed the connection instead of answering the association request")
    return peer.unreachable(f"no valid answer to the association request within {peer.acse_timeout:g} s")


def _application_entity(peer: Peer) -> Any:
    entity = AE(peer.calling_ae)
    entity.acse_timeout = peer.acse_timeout
    entity.dimse_timeout = peer.dimse_timeout
    entity.network_timeout = None
    return entity


def _tls_context(peer: Peer) -> ssl.SSLContext | None:
    if peer.tls is None:
        return None
    try:
        return peer.tls.client_context()
    except OSError as error:  # ssl.SSLError is one
        raise peer.refused(f"our own TLS files cannot be used: {error}") from error
