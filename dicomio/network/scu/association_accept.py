"""Reads A-ASSOCIATE-AC (PS3.8, 9.3.3) leniently and rewrites it so that pynetdicom can parse it.

Of the user information a sender needs the length of a PDU alone. Everything else there, version names of more than 16
characters and items of later editions above all, is left out, so that nothing in it can be wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

ACCEPT_PDU = 0x02
FIXED = 68  # bytes before the variable items
APPLICATION_CONTEXT, PRESENTATION_CONTEXT, USER_INFORMATION, MAXIMUM_LENGTH = 0x10, 0x21, 0x50, 0x51


def clean_accept(body: bytes) -> bytes:
    """The PDU without its first six bytes, reduced to what we use; as it came if its items do not fit into it."""
    try:
        kept = b"".join(_kept(body[FIXED:]))
    except ValueError:
        return body
    return body[:FIXED] + kept


def _kept(items: bytes) -> Iterator[bytes]:
    for kind, value in _items(items):
        if kind == USER_INFORMATION:
            length = b"".join(_item(*item) for item in _items(value) if item[0] == MAXIMUM_LENGTH)
            yield _item(kind, length)
        elif kind in (APPLICATION_CONTEXT, PRESENTATION_CONTEXT):
            yield _item(kind, value)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each item; raises ValueError when one is longer than what holds it."""
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise ValueError("an item ends within its length")
        kind, length = struct.unpack_from(">BxH", data, at)
        at += 4
        if at + length > len(data):
            raise ValueError("an item is longer than what holds it")
        yield kind, data[at : at + length]
        at += length


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value
