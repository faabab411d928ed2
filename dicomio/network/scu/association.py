"""Opens associations with other application entities and explains why one was not opened."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import T_CONNECT, AddressInformation

from dicomio.errors import PeerRefused, PeerUnreachable
from dicomio.network.polled_socket import PolledSocket, set_options
from dicomio.network.scu.association_accept import ACCEPT_PDU, clean_accept
from dicomio.network.scu.checkpoint import Checkpoint
from dicomio.network.scu.connection_control import ConnectionControl
from dicomio.network.tls import TLSFiles

if TYPE_CHECKING:
    from pynetdicom.dimse import DimseServiceType

LOCALHOST = "127.0.0.1"  # stands where pynetdicom wants an address: the socket knows better
LARGEST_CONTROL_PDU = 1 << 20
SLOWEST_RATE = 100_000  # bytes per second that a peer must at least take
GRACE_SECONDS = 2.0  # seconds that pynetdicom has to notice by itself that its time is over
MOST_CONTEXTS = 128  # PS3.8, 9.3.2.2: context ids are the odd numbers up to 255
PERMANENT = 0x01


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another application entity.

    Attributes:
        ae_title: Its AE title.
        host: Its address or name.
        port: Its TCP port.
        calling_ae: Our own AE title.
        tls: Files for TLS; None: plain TCP.
        connect_timeout: Seconds that it has to accept the connection.
        acse_timeout: Seconds that it has to answer an association request.
        dimse_timeout: Seconds that it has to answer a message, beside the time that its bytes take; storing may take a
            while.
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

    def message_timeout(self, size: int) -> float:
        """Seconds that it has to take and answer a message of so many bytes."""
        return self.dimse_timeout + size / SLOWEST_RATE

    def refused(self, reason: str) -> PeerRefused:
        """The error for when this peer refuses."""
        return PeerRefused(peer=str(self), reason=reason)

    def unreachable(self, reason: str) -> PeerUnreachable:
        """The error for when this peer does not answer."""
        return PeerUnreachable(peer=str(self), reason=reason)


class RequestorSocket(PolledSocket):
    """The socket of an association that we ask for."""

    def __init__(
        self, assoc: Association, peer: Peer, context: ssl.SSLContext | None, control: ConnectionControl
    ) -> None:
        super().__init__(assoc, address=AddressInformation(LOCALHOST, 0))
        self._peer = peer
        self._context = context
        self._control = control
        self.error: OSError | None = None
        self.lost = False

    def _create_socket(self, address: AddressInformation) -> None:
        """Nothing yet: which kind of socket it takes is known when the name is looked up."""

    def connect(self, primitive: T_CONNECT) -> None:
        """Connect to the first address of the peer that answers, and shake hands if it is TLS."""
        peer = self._peer
        try:
            connection = socket.create_connection((peer.host, peer.port), peer.connect_timeout)
            set_options(connection, peer.connect_timeout)
            self._control.attach(connection)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_hostname=peer.host)
                self._control.attach(connection)
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

    def recv(self, nr_bytes: int) -> bytearray:
        """Read `nr_bytes`; fewer when the connection ends before. What accepts us comes as pynetdicom can read it."""
        data = super().recv(nr_bytes)
        self.lost = self.lost or len(data) < nr_bytes
        if len(data) == nr_bytes == 6 and data[0] == ACCEPT_PDU:
            length = int.from_bytes(data[2:6], "big")
            body = super().recv(length) if length <= LARGEST_CONTROL_PDU else b""
            if len(body) == length:
                body = clean_accept(bytes(body))
                data[2:6] = len(body).to_bytes(4, "big")
            self.push_back(bytes(body))
        return data


class _Entity(AE):  # type: ignore[misc]
    """Our side of an association, with our kind of socket."""

    def __init__(self, peer: Peer, control: ConnectionControl) -> None:
        super().__init__(peer.calling_ae)
        self.acse_timeout = peer.acse_timeout
        self.dimse_timeout = peer.dimse_timeout
        self.network_timeout = None
        self.connection: RequestorSocket
        self._peer, self._control, self._tls = peer, control, _tls_context(peer)

    def _create_socket(self, assoc: Association, *_: object) -> RequestorSocket:
        assoc._reactor_checkpoint = Checkpoint(assoc)
        assoc._reactor_checkpoint.set()
        self.connection = RequestorSocket(assoc, self._peer, self._tls, self._control)
        _hand_answers_back(assoc)
        return self.connection


def _hand_answers_back(assoc: Association) -> None:
    """Puts back answers that pynetdicom's reactor took although a request waits for them.

    Before a request is sent the reactor is paused, by an event and a flag. On a busy machine it may be seen as paused
    when it has passed the event already; it then takes the answer as a message that nobody expects and drops it, and
    the request waits until its time is over. While the event is not set, a request does wait.
    """
    serve = assoc._serve_request

    def hand_back(message: DimseServiceType, context_id: int) -> None:
        if message.is_valid_request or assoc._reactor_checkpoint.is_set():
            serve(message, context_id)
        else:
            assoc.dimse.msg_queue.put((context_id, message))

    assoc._serve_request = hand_back


@contextmanager
def association(
    peer: Peer, contexts: Sequence[PresentationContext], control: ConnectionControl | None = None
) -> Iterator[Association]:
    """An established association, released at the end (aborted when an exception ends it).

    Every step has a deadline: a peer that sends a byte now and then does not hold us forever.

    Args:
        peer: Where to.
        contexts: What to propose, at most 128.
        control: Lets another thread end it, and sets deadlines for what is done with it.

    Raises:
        PeerRefused: It rejects us, accepts nothing that we propose, or its or our TLS setting is wrong.
        PeerUnreachable: It does not answer, hangs up, or is too busy.
    """
    control = control or ConnectionControl()
    control.open()
    try:
        with control.within(peer.connect_timeout + peer.acse_timeout + GRACE_SECONDS):
            opened = _request(peer, contexts, control)
        with _closed_afterwards(peer, opened, control):
            yield opened
    finally:
        control.disconnect()


@contextmanager
def _closed_afterwards(peer: Peer, opened: Association, control: ConnectionControl) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with control.within(GRACE_SECONDS):
            opened.abort()
        raise
    with control.within(peer.acse_timeout):
        if opened.is_established:
            opened.release()
        else:
            opened.kill()


def _request(peer: Peer, contexts: Sequence[PresentationContext], control: ConnectionControl) -> Association:
    entity = _Entity(peer, control)
    asked = entity.associate(LOCALHOST, peer.port, list(contexts), peer.ae_title)
    if not asked.is_established:
        asked.kill()
        raise _explanation(peer, asked, entity.connection, control)
    return asked


def _explanation(
    peer: Peer, asked: Association, connection: RequestorSocket, control: ConnectionControl
) -> PeerRefused | PeerUnreachable:
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
    if connection.lost and control.cut is None:
        return peer.unreachable("it closed the connection instead of answering the association request")
    return peer.unreachable(f"no valid answer to the association request within {peer.acse_timeout:g} s")


def _tls_context(peer: Peer) -> ssl.SSLContext | None:
    if peer.tls is None:
        return None
    try:
        return peer.tls.client_context()
    except OSError as error:  # ssl.SSLError is one
        raise peer.refused(f"our TLS files cannot be used: {error}") from error
