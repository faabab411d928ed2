"""Receives DIMSE messages fragment by fragment; C-STORE data sets go straight into the spool."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from pynetdicom.dimse import DIMSEServiceProvider

from dicomio.files.identity import Identity, identity_of
from dicomio.files.spool import lost
from dicomio.files.spool.free_space import SpoolFull
from dicomio.files.spool.writer import SpoolWriter
from dicomio.network.scp.messages import StoreRequest, command_field, decode_request, has_data_set, parse_command
from dicomio.network.scp.protocol_errors import MalformedPDU, MessageTooLarge, PeerTooSlow

if TYPE_CHECKING:
    from dicomio.network.listener.settings import ListenerSettings

LARGEST_COMMAND = 1 << 16
LARGEST_OTHER_DATA_SET = 1 << 20
RESPONSE = 0x8000
CANCEL = 0x0FFF

Command = dict[int, bytes]


class ObjectTooLarge(Exception):  # noqa: N818 - named as the others in dicomio/errors.py
    """An object has more bytes than the listener takes."""


class EmptyDataSet(Exception):  # noqa: N818 - named as the others in dicomio/errors.py
    """An object without a byte."""


class IncomingDataSet:
    """The data set of one C-STORE request; goes into the spool, never into memory.

    What goes wrong is kept in `failure` and answered when the data set has ended: the association stays usable.

    Args:
        open_writer: Opens its file in the spool, the head already written.
        limit: Bytes that it may have. As much again is read and discarded, so that the peer gets a status.
    """

    def __init__(self, open_writer: Callable[[], SpoolWriter], limit: int) -> None:
        self._open_writer = open_writer
        self._writer: SpoolWriter | None = None
        self._limit = limit
        self.size = 0
        self.failure: Exception | None = None
        self.identity = Identity()

    def write(self, fragment: memoryview) -> None:
        """Append a fragment to the file in the spool; raises MessageTooLarge when it does not end."""
        self.size += len(fragment)
        if self.failure is not None:
            if self.size > 2 * self._limit:
                raise MessageTooLarge(f"an object of more than {2 * self._limit} bytes")
            return
        try:
            if self.size > self._limit:
                raise ObjectTooLarge(f"an object of more than {self._limit} bytes")
            if self._writer is None:
                self._writer = self._open_writer()
            self._writer.write(fragment)
        except (OSError, SpoolFull, ObjectTooLarge) as error:
            self.discard()
            self.failure = error

    def commit(self) -> str:
        """Make the file durable; returns its name, raises what went wrong on the way, EmptyDataSet if nothing came."""
        if self.failure is not None:
            raise self.failure
        if self._writer is None or not self.size:
            raise EmptyDataSet("the data set is empty")
        return self._writer.commit().name

    def discard(self) -> None:
        """Remove the file, and keep the identity of the image; does nothing after `commit`."""
        if self._writer is not None and self._writer.is_open:
            with suppress(OSError):
                self.identity = identity_of(self._writer.path)
            self._writer.discard()


class MessageHandler(Protocol):
    """What is done with messages: the side of an association that the receiver needs."""

    settings: ListenerSettings

    def incoming_data_set(self, request: StoreRequest) -> IncomingDataSet:
        """Where the data set of `request` goes; raises MalformedPDU when its context was not accepted."""

    def store(self, request: StoreRequest, data_set: IncomingDataSet) -> None:
        """Answer a request whose data set has come: success once it is durable."""

    def note_lost(self, request: StoreRequest, data_set: IncomingDataSet, kind: str, reason: str) -> None:
        """Note an image that did not get in."""

    def answer(self, context_id: int, command: Command) -> None:
        """Answer any other request."""


class MessageReceiver(DIMSEServiceProvider):  # type: ignore[misc]
    """Assembles messages from their fragments; each is answered before the next one is read."""

    assoc: MessageHandler

    def __init__(self, assoc: MessageHandler) -> None:
        super().__init__(assoc)
        self._command = bytearray()
        self._request: StoreRequest | None = None
        self._data_set: IncomingDataSet | None = None
        self._other: Command | None = None  # a request other than C-STORE whose data set is being received
        self._other_bytes = 0
        self._began = 0.0

    @property
    def is_within_message(self) -> bool:
        """Whether more must come before the peer may wait for an answer."""
        return self._request is not None or self._other is not None or bool(self._command)

    def receive(self, context_id: int, control: int, value: memoryview) -> None:
        """Process a fragment.

        Args:
            context_id: Its presentation context.
            control: Its message control header (PS3.8, E.2): bit 0 says command, bit 1 last.
            value: The rest of it; valid during this call.

        Raises:
            ProtocolViolation: It is no part of any message that we know how to read.
        """
        last = bool(control & 2)
        if control & 1:
            self._receive_command(context_id, value, last=last)
        elif self._request is not None:
            self._receive_image(self._request, context_id, value, last=last)
        elif self._other is not None:
            self._receive_other(self._other, context_id, value, last=last)
        else:
            raise MalformedPDU("a data set without a command")

    def discard(self) -> None:
        """Discard a data set that was cut off, however the association ended."""
        data_set, request = self._data_set, self._request
        self._data_set = self._request = None
        if data_set is not None:
            data_set.discard()
            if request is not None:
                self.assoc.note_lost(
                    request, data_set, lost.NOT_FINISHED, "was cut off when the sender's association ended"
                )

    def _receive_command(self, context_id: int, value: memoryview, *, last: bool) -> None:
        if self._request is not None or self._other is not None:
            raise MalformedPDU("a command before the end of the data set of the one before it")
        self._command += value
        if len(self._command) > LARGEST_COMMAND:
            raise MessageTooLarge(f"a command of more than {LARGEST_COMMAND} bytes")
        if not last:
            return
        command = parse_command(bytes(self._command))
        self._command = bytearray()
        self._began = time.monotonic()
        request = decode_request(context_id, command)
        if request is not None:
            self._data_set = self.assoc.incoming_data_set(request)
            self._request = request
        elif has_data_set(command):
            self._other, self._other_bytes = command, 0
        else:
            self._serve_other(context_id, command)

    def _receive_image(self, request: StoreRequest, context_id: int, value: memoryview, *, last: bool) -> None:
        data_set = self._data_set
        if data_set is None or context_id != request.context_id:
            raise MalformedPDU("a data set that changes its presentation context")
        data_set.write(value)
        self._keep_up(data_set.size)
        if last:
            self._request = self._data_set = None
            self.assoc.store(request, data_set)

    def _receive_other(self, command: Command, context_id: int, value: memoryview, *, last: bool) -> None:
        self._other_bytes += len(value)
        if self._other_bytes > LARGEST_OTHER_DATA_SET:
            raise MessageTooLarge(f"a message of more than {LARGEST_OTHER_DATA_SET} bytes that is no image")
        self._keep_up(self._other_bytes)
        if last:
            self._other = None
            self._serve_other(context_id, command)

    def _serve_other(self, context_id: int, command: Command) -> None:
        field = command_field(command)
        if not field & RESPONSE and field != CANCEL:
            self.assoc.answer(context_id, command)

    def _keep_up(self, size: int) -> None:
        """A message may take as long as a pause between messages, and longer only as far as its size explains it."""
        settings = self.assoc.settings
        if time.monotonic() - self._began > settings.network_timeout + size / settings.slowest_rate:
            raise PeerTooSlow(f"less than {settings.slowest_rate} bytes per second")
