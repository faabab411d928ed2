"""Settings of the listener, as plain data that can be sent to its processes."""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Container
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from dicomio.files.spool.free_space import RESERVE_BYTES
from dicomio.network.tls import TLSFiles

LOOKUP_SECONDS = 300.0  # how long a looked-up name is good
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, kw_only=True)
class AllowedPeer:
    """Who may open an association.

    Attributes:
        ae_title: Its calling AE title; '' for any.
        host: Its address, a network (10.1.0.0/16) or a name to be looked up; '' for any.
    """

    ae_title: str = ""
    host: str = ""

    def matches(self, calling_ae: str, address: str) -> bool:
        """Whether a caller is this peer."""
        if self.ae_title and self.ae_title != calling_ae:
            return False
        return not self.host or ipaddress.ip_address(address) in addresses_of(self.host)


@dataclass(frozen=True, kw_only=True)
class ListenerSettings:
    """Settings of the listener.

    Attributes:
        spool: Folder of the spool.
        ae_title: Our AE title.
        host: Address to listen on; '0.0.0.0' or '' for all of IPv4, '::' for all of both.
        port: TCP port; 0 picks a free one.
        allow: Who may open associations; empty: everyone.
        check_called_ae: Reject requests for another AE title.
        processes: Listener processes on the port.
        max_associations: At one time, over all processes; further ones are rejected as transient.
        max_associations_per_host: Of those, from one address.
        max_request: Largest A-ASSOCIATE-RQ that is read, in bytes.
        max_pdu: Largest P-DATA PDU that we ask for, in bytes.
        max_object: Largest data set that is stored, in bytes; larger ones are refused with 0xA700.
        network_timeout: Seconds without a byte after which an association is aborted.
        acse_timeout: Seconds from the connection to the end of the association request, TLS included.
        pdu_timeout: Seconds from the beginning of a PDU to its end.
        slowest_rate: Bytes per second below which a message that takes longer than `network_timeout` is given up.
        grace: Seconds that running associations have to end when the listener stops.
        reserve_bytes: What has to stay free on the disk of the spool; below it images are refused with 0xA700.
        tls: Files for TLS; None: plain TCP.
    """

    spool: Path
    ae_title: str = "SCANWARD"
    host: str = "0.0.0.0"  # noqa: S104 - scanners are on the network, not on this machine
    port: int = 11112
    allow: tuple[AllowedPeer, ...] = ()
    check_called_ae: bool = True
    processes: int = 2
    max_associations: int = 64
    max_associations_per_host: int = 32
    max_request: int = 128 << 10
    max_pdu: int = 1 << 18
    max_object: int = 4 << 30
    network_timeout: float = 60.0
    acse_timeout: float = 30.0
    pdu_timeout: float = 60.0
    slowest_rate: int = 1 << 10
    grace: float = 10.0
    reserve_bytes: int = RESERVE_BYTES
    tls: TLSFiles | None = None

    @property
    def largest_data_pdu(self) -> int:
        """Bytes of the largest P-DATA PDU that is read from peers that ignore `max_pdu`."""
        return max(4 * self.max_pdu, 1 << 20)

    def allows(self, calling_ae: str, address: str) -> bool:
        """Whether a caller may open an association."""
        return not self.allow or any(peer.matches(calling_ae, address) for peer in self.allow)

    def to_json(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`."""
        values = json.loads(line)
        values["spool"] = Path(values["spool"])
        values["allow"] = tuple(AllowedPeer(**peer) for peer in values["allow"])
        values["tls"] = values["tls"] and TLSFiles.from_strings(**values["tls"])
        return cls(**values)


_looked_up: dict[str, tuple[float, frozenset[Address]]] = {}


def addresses_of(host: str) -> Container[Address]:
    """The addresses that a host name, address or network stands for; nothing when a name is not known.

    A name that was known stays known while the name service is down: scanners must not be locked out by that.
    """
    try:
        return ipaddress.ip_network(host, strict=False)
    except ValueError:
        pass
    until, known = _looked_up.get(host, (0.0, frozenset[Address]()))
    if time.monotonic() >= until:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            known = frozenset(ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found)
        except OSError:
            pass
        _looked_up[host] = (time.monotonic() + LOOKUP_SECONDS * bool(known), known)
    return known
