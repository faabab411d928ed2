"""An association's socket that waits in poll(2) and reads whole PDUs; pynetdicom's reads 4 KiB at a time."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from typing import Any

from pynetdicom.transport import AssociationSocket


class PolledSocket(AssociationSocket):  # type: ignore[misc]
    """An association's socket that waits in poll(2) and reads whole PDUs instead of 4 KiB at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.select_timeout = 0.0
        self._unread = b""

    @property
    def ready(self) -> bool:
        """Whether there is something to read, after waiting up to `select_timeout` seconds for it."""
        sock = self.socket
        if sock is None or not self._is_connected:
            return False
        if self._unread or (isinstance(sock, ssl.SSLSocket) and sock.pending()):
            return True
        poller = select.poll()  # not select(2), which cannot watch descriptors above 1023
        try:
            poller.register(sock, select.POLLIN)
            return bool(poller.poll(self.select_timeout * 1000))
        except (OSError, ValueError):
            self.event_queue.put("Evt17")
            return False

    def recv(self, nr_bytes: int) -> bytearray:
        """Read `nr_bytes`; fewer when the connection ends before."""
        data = bytearray(nr_bytes)
        return data[: self.recv_into(memoryview(data))]

    def recv_into(self, view: memoryview) -> int:
        """Fill `view`; returns how much of it was filled when the connection ends before."""
        filled = len(self._unread)
        view[:filled], self._unread = self._unread, b""
        sock = self.socket
        while sock is not None and filled < len(view):
            count = sock.recv_into(view[filled:])
            if not count:
                break
            filled += count
        return filled

    def _shutdown_socket(self) -> None:
        """Shut down and close; pynetdicom forgets to close what the peer has shut down already."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()

    def push_back(self, data: bytes) -> None:
        """Give back what was read: the next read returns it again."""
        self._unread = data


def set_options(connection: socket.socket, timeout: float | None) -> None:
    """No Nagle delay for the small answers, and no wait without end in the middle of a PDU."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(timeout)
