"""What the listener does when something goes wrong: processes killed, peers that misbehave, a disk that is full."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

import pytest

from dicomio.files.spool.spool import Spool
from dicomio.network.listener.supervisor import Listener, ListenerSettings
from dicomio.network.scu.sender import echo
from tests.dicomio.support.requestor import raw_association
from tests.dicomio.support.series import until
from tests.dicomio.support.wire import HERE, us


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01\x00\xff\xff\xff\xff",
        b"\x04\x00\xff\xff\xff\xff",
        b"\x04\x00\x00\x00\x00\x06\x00\x00\xff\xff\x01\x03",
        b"\x01\x00\x00\x00\x00\x04\x00\x01\x00\x00",
        bytes(100),
        b"",
    ],
)
def test_nonsense_before_an_association(settings: ListenerSettings, spool: Spool, data: bytes) -> None:
    with Listener(settings) as listener:
        with socket.create_connection((HERE, listener.port)) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(10)
            while sock.recv(1000):
                pass
        echo(us(listener.port))
        until(lambda: listener.connection_counts == (0,))
        assert len(spool.associations()) == 1, "only the echo was an association"


def test_who_says_nothing_is_disconnected_and_holds_up_nobody(settings: ListenerSettings) -> None:
    with Listener(replace(settings, acse_timeout=1.0, network_timeout=1.5)) as listener:
        idle = [socket.create_connection((HERE, listener.port)) for _ in range(20)]
        start = time.monotonic()
        echo(us(listener.port))
        assert time.monotonic() - start < 1
        with raw_association(listener.port) as opened:
            opened.dul.run_until(lambda: False, 10)
            assert not opened.dul.is_alive(), "an association without traffic is ended, too"
        until(lambda: listener.connection_counts == (0,))
        for sock in idle:
            sock.close()
