"""C-STORE requests as they come in, fragment by fragment, straight into the spool."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from dicomio.part import Part, SpoolFull
from dicomio.store_messages import decode_request, encode_response, parse_command
from dicomio.upper_layer import UnthreadedMessages, p_data

if TYPE_CHECKING:
    from dicomio.reception import Reception

LARGEST_COMMAND = 1 << 16
LARGEST_OTHER_DATA_SET = 1 << 20  # data sets other than those of C-STORE stay in memory


class IncomingDataSet(BytesIO):
    """The data set of one C-STORE request, on its way to the spool instead of into memory.

    What goes wrong is kept in `failure` and answered when the data set has ended: the association stays usable.
    """

    def __init__(self, open_part: Callable[[], Part]) -> None:
        super().__init__()
        self._open_part = open_part
        self._part: Part | None = None
        self.failure: Exception | None = None

    def write(self, fragment: Any) -> int:
        """Append a fragment to the file in the spool."""
        if self.failure is None:
            try:
                if self._part is None:
                    self._part = self._open_part()
                self._part.write(fragment)
            except (OSError, SpoolFull) as error:
                self.discard()
                self.failure = error
        return len(fragment)

    def commit(self) -> str:
        """Make the file durable; returns its name, raises what went wrong on the way."""
        if self.failure is not None:
            raise self.failure
        if self._part is None:
            raise ValueError("the data set is empty")
        return self._part.commit().name

    def discard(self) -> None:
        """Leave nothing behind; harmless after `commit`."""
        if self._part is not None:
            self._part.discard()


class ReceivingMessages(UnthreadedMessages):
    """Takes C-STORE requests apart as their fragments arrive, and leaves all other messages to pynetdicom."""

    def __init__(self, assoc: Reception) -> None:
        super().__init__(assoc)
        self._command = bytearray()
        self._request: C_STORE | None = None
        self._other_bytes = 0

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Process fragments; PS3.8, annex E.2: bit 0 of the first byte says command, bit 1 last."""
        for context_id, value in primitive.presentation_data_value_list:
            if value[0] & 1:
                self._receive_command(context_id, value)
            elif self._request is None:
                self._other_bytes += len(value)
                _limit(self._other_bytes, LARGEST_OTHER_DATA_SET)
                self._pass_on(context_id, bytes(value))
            else:
                self._request.DataSet.write(value[1:])
                if value[0] & 2:
                    self.msg_queue.put((context_id, self._request))
                    self._request = None

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message."""
        if isinstance(primitive, C_STORE):
            self.dul.send_pdu(p_data(context_id, b"\x03" + encode_response(primitive)))
        else:
            super().send_msg(primitive, context_id)

    def discard(self) -> None:
        """Forget a data set that was cut off."""
        if self._request is not None:
            self._request.DataSet.discard()

    def _receive_command(self, context_id: int, value: memoryview) -> None:
        self._command += value[1:]
        _limit(len(self._command), LARGEST_COMMAND)
        if not value[0] & 2:
            return
        command, self._command, self._other_bytes = bytes(self._command), bytearray(), 0
        self._request = decode_request(context_id, parse_command(command))
        if self._request is None:
            self._pass_on(context_id, b"\x03" + command)
        else:
            self._request.DataSet = self.assoc.incoming(self._request)

    def _pass_on(self, context_id: int, value: bytes) -> None:
        super().receive_primitive(p_data(context_id, value))


def _limit(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"a message of more than {limit} bytes that is no image")
