"""Encodes and decodes C-STORE commands (PS3.7, 9.3.1 and E.1) without pydicom, which is too slow for one per image.

pynetdicom sends each command set through pydicom's general reader and writer, which costs more per image than all the
rest of receiving it. The messages of which there is one per image have these shortcuts, and so have the answers of the
listener to everything else, because whatever a peer sends there must find an answer and no exception.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from dicomio.network.scp.protocol_errors import MalformedPDU

STORE_REQUEST = 0x0001
STORE_RESPONSE = 0x8001
ECHO_REQUEST = 0x0030
NO_DATA_SET = 0x0101
LONGEST_COMMENT = 64


@dataclass(frozen=True)
class StoreRequest:
    """A C-STORE request, without its data set."""

    context_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str


def parse_command(data: bytes) -> dict[int, bytes]:
    """A command set as element number to value; Implicit VR Little Endian always (PS3.7, 6.3.1).

    Raises:
        MalformedPDU: The elements do not fill the command set exactly.
    """
    elements, at = {}, 0
    while at < len(data):
        if at + 8 > len(data):
            raise MalformedPDU("a command set ends within an element")
        group, number, length = struct.unpack_from("<HHI", data, at)
        at += 8
        if at + length > len(data):
            raise MalformedPDU("a command element is longer than its command set")
        if group == 0:
            elements[number] = data[at : at + length]
        at += length
    return elements


def command_field(command: dict[int, bytes]) -> int:
    """Which command it is."""
    return _number(command, 0x0100)


def has_data_set(command: dict[int, bytes]) -> bool:
    """Whether a data set follows the command."""
    return _number(command, 0x0800) != NO_DATA_SET


def decode_request(context_id: int, command: dict[int, bytes]) -> StoreRequest | None:
    """The request; None when the command is another one.

    Raises:
        MalformedPDU: It is a C-STORE request that lacks what it must have.
    """
    if command_field(command) != STORE_REQUEST:
        return None
    request = StoreRequest(context_id, _number(command, 0x0110), _text(command, 0x0002), _text(command, 0x1000))
    if not has_data_set(command) or not request.sop_instance_uid:
        raise MalformedPDU("a C-STORE request without data set or SOP Instance UID")
    return request


def encode_response(request: StoreRequest, status: int, comment: str = "") -> bytes:
    """The encoded command set of a response."""
    body = _element(0x0002, _padded(request.sop_class_uid, b"\x00"))
    body += _answer(STORE_RESPONSE, request.message_id, status)
    if comment:
        body += _element(0x0902, _padded(comment[:LONGEST_COMMENT], b" "))
    body += _element(0x1000, _padded(request.sop_instance_uid, b"\x00"))
    return _element(0x0000, struct.pack("<I", len(body))) + body


def encode_answer(command: dict[int, bytes], status: int) -> bytes:
    """The encoded command set of an answer to any other request: nothing but a status."""
    body = b"".join(_element(number, command[number]) for number in (0x0002, 0x0003) if number in command)
    body += _answer(command_field(command) | 0x8000, _number(command, 0x0110), status)
    return _element(0x0000, struct.pack("<I", len(body))) + body


def _answer(field: int, message_id: int, status: int) -> bytes:
    return b"".join(
        _element(number, struct.pack("<H", value))
        for number, value in ((0x0100, field), (0x0120, message_id), (0x0800, NO_DATA_SET), (0x0900, status))
    )


def _number(command: dict[int, bytes], element: int) -> int:
    return int.from_bytes(command.get(element, b"")[:2], "little")


def _text(command: dict[int, bytes], element: int) -> str:
    return command.get(element, b"").decode("ascii", "replace").strip("\x00 ")


def _padded(value: str | None, pad: bytes) -> bytes:
    encoded = (value or "").encode("ascii", "replace")
    return encoded + pad if len(encoded) % 2 else encoded


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value
