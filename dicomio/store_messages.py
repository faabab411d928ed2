"""C-STORE requests and responses to and from bytes (PS3.7, 9.3.1 and E.1), without pydicom.

pynetdicom sends each command set through pydicom's general reader and writer, which costs more per image than all the
rest of receiving it. The two messages of which there is one per image have these shortcuts; the primitives, and all
other messages, are pynetdicom's.
"""

from __future__ import annotations

import struct

from pynetdicom.dimse_primitives import C_STORE

STORE_REQUEST = 0x0001
STORE_RESPONSE = 0x8001
NO_DATA_SET = 0x0101
WITH_DATA_SET = 0x0001
MEDIUM_PRIORITY = 0x0000
LONGEST_COMMENT = 64


def parse_command(data: bytes) -> dict[int, bytes]:
    """A command set as element number to value; Implicit VR Little Endian always (PS3.7, 6.3.1).

    Raises:
        ValueError: The elements do not fill the command set exactly.
    """
    elements, at = {}, 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("a command set ends within an element")
        group, number, length = struct.unpack_from("<HHI", data, at)
        at += 8
        if at + length > len(data):
            raise ValueError("a command element is longer than its command set")
        if group == 0:
            elements[number] = data[at : at + length]
        at += length
    return elements


def decode_request(context_id: int, command: dict[int, bytes]) -> C_STORE | None:
    """The request, still without its data set; None when the command is another one.

    Raises:
        ValueError: It is a C-STORE request that lacks what it must have.
    """
    if _number(command, 0x0100) != STORE_REQUEST:
        return None
    request = C_STORE()
    request.MessageID = _number(command, 0x0110)
    request.Priority = _number(command, 0x0700) % 3  # only 0 to 2 have a meaning, and we serve all alike
    request.AffectedSOPClassUID = _text(command, 0x0002)
    request.AffectedSOPInstanceUID = _text(command, 0x1000)
    request._context_id = context_id
    request._dataset_path = request._dataset_file = None
    if _number(command, 0x0800) == NO_DATA_SET or not request.AffectedSOPInstanceUID:
        raise ValueError("a C-STORE request without data set or SOP Instance UID")
    return request


def encode_request(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """The encoded command set of a request with a data set, of medium priority."""
    body = _element(0x0002, _padded(sop_class_uid, b"\x00"))
    body += _element(0x0100, struct.pack("<H", STORE_REQUEST))
    body += _element(0x0110, struct.pack("<H", message_id))
    body += _element(0x0700, struct.pack("<H", MEDIUM_PRIORITY))
    body += _element(0x0800, struct.pack("<H", WITH_DATA_SET))
    body += _element(0x1000, _padded(sop_instance_uid, b"\x00"))
    return _element(0x0000, struct.pack("<I", len(body))) + body


def encode_response(response: C_STORE) -> bytes:
    """The encoded command set of a response."""
    body = _element(0x0002, _padded(response.AffectedSOPClassUID, b"\x00"))
    body += _element(0x0100, struct.pack("<H", STORE_RESPONSE))
    body += _element(0x0120, struct.pack("<H", response.MessageIDBeingRespondedTo))
    body += _element(0x0800, struct.pack("<H", NO_DATA_SET))
    body += _element(0x0900, struct.pack("<H", response.Status))
    if response.ErrorComment:
        body += _element(0x0902, _padded(response.ErrorComment[:LONGEST_COMMENT], b" "))
    body += _element(0x1000, _padded(response.AffectedSOPInstanceUID, b"\x00"))
    return _element(0x0000, struct.pack("<I", len(body))) + body


def _number(command: dict[int, bytes], element: int) -> int:
    return int.from_bytes(command.get(element, b""), "little")


def _text(command: dict[int, bytes], element: int) -> str:
    return command.get(element, b"").decode("ascii", "replace").strip("\x00 ")


def _padded(value: str | None, pad: bytes) -> bytes:
    encoded = (value or "").encode("ascii", "replace")
    return encoded + pad if len(encoded) % 2 else encoded


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value
