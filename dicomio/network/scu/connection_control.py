"""Ends a sender's connection from another thread: at a deadline, or when the service stops."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class ConnectionControl:
    """One connection at a time, which can be cut from any thread.

    pynetdicom reads PDUs in a thread of its own and waits there for as long as the peer sends a byte now and then; a
    socket that is shut down is the only thing that ends this wait.

    Attributes:
        cut: Why the connection was cut, None while it was not.
    """

    def __init__(self) -> None:
        self._finishing = False
        self.cut: str | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._socket: socket.socket | None = None

    def is_finishing(self) -> bool:
        """Whether nothing new may be begun; what is being sent is finished."""
        return self._finishing

    def open(self) -> None:
        """A new connection begins: forget why the last one was cut, but not that `close` was called."""
        with self._lock:
            self._socket, self.cut = None, "Scanward is stopping" if self._closed else None

    def attach(self, connection: socket.socket) -> None:
        """Set the connection to cut; it is cut at once if it comes too late."""
        with self._lock:
            self._socket = connection
            if self.cut is not None:
                self._shut_down()

    def disconnect(self) -> None:
        """Shut down and close the connection."""
        with self._lock:
            self._shut_down()
            if self._socket is not None:
                self._socket.close()
            self._socket = None

    def finish(self) -> None:
        """Begin nothing new: not another instance, not another association."""
        self._finishing = True

    def close(self) -> None:
        """Cut this connection, and any later one."""
        self._finishing = self._closed = True
        self._cut("Scanward is stopping")

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Cut the connection if the block takes longer than this."""
        timer = threading.Timer(seconds, self._cut, (f"it took longer than {seconds:g} s",))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self, why: str) -> None:
        with self._lock:
            self.cut = self.cut or why
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # closed already
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
