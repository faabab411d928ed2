"""Counts connections over all listener processes, in shared memory; each process writes its own part only.

A connection is pending until its association request is accepted; only then it counts against the limits of
associations. A peer that connects and sends nothing therefore blocks nobody: when there are too many pending
connections, in all or from one address, the oldest is closed.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import socket
import threading
from contextlib import suppress

from dicomio.network.listener.settings import ListenerSettings

LOG = logging.getLogger(__name__)

PENDING, ASSOCIATED = 1, 2
FEWEST_PENDING = 16
_ENTRY = 8  # bytes: seven that stand for the address, one for the state; all zero for a free entry


def table_size(settings: ListenerSettings) -> int:
    """Bytes of the whole table."""
    return _ENTRY * settings.processes * _entries(settings)


def connection_counts(fd: int, settings: ListenerSettings) -> tuple[int, ...]:
    """How many connections each process has."""
    return _connection_counts(memoryview(os.pread(fd, table_size(settings), 0)).cast("Q"), settings.processes)


def clear(fd: int, settings: ListenerSettings, process: int) -> None:
    """Forget the connections of a process that has died."""
    size = _ENTRY * _entries(settings)
    os.pwrite(fd, bytes(size), process * size)


class ConnectionEntry:
    """One connection in the table."""

    def __init__(self, table: ConnectionTable, number: int, host: str, connection: socket.socket) -> None:
        self._table = table
        self.number = number
        self.host = host
        self.connection = connection

    def associate(self) -> bool:
        """Count as an association from now on; False if a limit is reached."""
        return self._table.associate(self)

    def leave(self) -> None:
        """The connection has ended."""
        self._table.leave(self)

    def close_early(self) -> None:
        """Close the connection before it has an association, to make room for a new one."""
        LOG.warning("connection_gave_way", extra={"fields": {"peer_host": self.host}})
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class ConnectionTable:
    """The table as a listener process sees it.

    Args:
        fd: Of the memory.
        settings: The listener's.
        mine: Which part is ours.
    """

    def __init__(self, fd: int, settings: ListenerSettings, mine: int) -> None:
        self._settings = settings
        self._memory = memoryview(mmap.mmap(fd, table_size(settings))).cast("Q")
        self._free = list(range(mine * _entries(settings), (mine + 1) * _entries(settings)))
        self._mine = mine
        self._pending: dict[ConnectionEntry, None] = {}  # the oldest first
        self._lock = threading.Lock()

    def enter(self, host: str, connection: socket.socket) -> ConnectionEntry | None:
        """An entry for a new connection; None if the table is full."""
        with self._lock:
            if not self._free:
                return None
            surplus = self._surplus(host)
            entry = ConnectionEntry(self, self._free.pop(), host, connection)
            self._pending[entry] = None
            self._memory[entry.number] = _key(host) + PENDING
        if surplus is not None:
            surplus.close_early()
        return entry

    def associate(self, entry: ConnectionEntry) -> bool:
        """See `ConnectionEntry.associate`."""
        key = _key(entry.host) + ASSOCIATED
        with self._lock:
            self._memory[entry.number] = key
            entries = self._memory.tolist()
            associations = sum(entry & 0xFF == ASSOCIATED for entry in entries)
            of_host, settings = entries.count(key), self._settings
            if associations > settings.max_associations or of_host > settings.max_associations_per_host:
                self._memory[entry.number] = _key(entry.host) + PENDING
                return False
            self._pending.pop(entry, None)
            return True

    def leave(self, entry: ConnectionEntry) -> None:
        """See `ConnectionEntry.leave`."""
        with self._lock:
            self._pending.pop(entry, None)
            self._memory[entry.number] = 0
            self._free.append(entry.number)

    def another_is_less_busy(self) -> bool:
        """Whether another process has fewer connections and should take the next one."""
        numbers = _connection_counts(self._memory, self._settings.processes)
        return numbers[self._mine] > min(numbers)

    def _surplus(self, host: str) -> ConnectionEntry | None:
        """The pending connection that has to be closed for a new one from `host`."""
        same = [entry for entry in self._pending if entry.host == host]
        surplus = None
        if len(same) >= self._settings.max_associations_per_host:
            surplus = same[0]
        elif len(self._pending) >= _most_pending(self._settings):
            surplus = next(iter(self._pending))
        if surplus is not None:
            del self._pending[surplus]
        return surplus


def _entries(settings: ListenerSettings) -> int:
    """Of each process: associations, pending connections, and some that are being closed."""
    return 2 * (settings.max_associations + _most_pending(settings))


def _most_pending(settings: ListenerSettings) -> int:
    """Connections of a process that have no association yet."""
    return max(2 * settings.max_associations, FEWEST_PENDING)


def _connection_counts(entries: memoryview, processes: int) -> tuple[int, ...]:
    values = entries.tolist()
    size = len(values) // processes
    return tuple(sum(map(bool, part)) for part in (values[at : at + size] for at in range(0, len(values), size)))


def _key(host: str) -> int:
    return int.from_bytes(hashlib.blake2b(host.encode(), digest_size=7).digest(), "big") << 8
