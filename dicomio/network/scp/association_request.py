"""Reads A-ASSOCIATE-RQ (PS3.8, 9.3.2) leniently and rewrites it so that pynetdicom can parse it.

Accepted are titles padded with NUL or left empty, long version names, unknown items, and a protocol version of which
bit 0 is set. What cannot be accepted is named, for an A-ASSOCIATE-RJ or for the
result of the one presentation context. Extended negotiation is left out of what pynetdicom gets to read: we answer
none, which means the defaults (PS3.7, D.3.3).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dicomio.network.scp.protocol_errors import MalformedPDU

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
WRONG_VERSION = (0x01, 0x02, 0x02)  # permanent, by the provider (ACSE), protocol version not supported (9.3.4)
WRONG_APPLICATION = (0x01, 0x01, 0x02)  # permanent, by the service user, application context name not supported
NO_REASON, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0x02, 0x03, 0x04  # results of a context (table 9-18)
EMPTY_TITLE = "NAMELESS"
"""Stands for an empty AE title where pynetdicom refuses to read one."""
LONGEST_UID = 128  # twice what is allowed
LONGEST_VERSION = 16
FIXED = 68  # bytes before the variable items

_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True, kw_only=True)
class AssociationRequest:
    """What a peer asks for.

    Attributes:
        calling_ae: Its AE title, '' if it names none.
        called_ae: The AE title that it asks for.
        clean: The same request, without what pynetdicom cannot read: a whole PDU.
        refused: Presentation contexts that are left out of `clean`: id to result (PS3.8, table 9-18).
        rejection: Result, source and reason, when no association may come of it.
    """

    calling_ae: str
    called_ae: str
    clean: bytes
    refused: dict[int, int]
    rejection: tuple[int, int, int] | None


def parse_association_request(body: bytes) -> AssociationRequest:
    """Take an A-ASSOCIATE-RQ apart.

    Args:
        body: The PDU without its first six bytes.

    Raises:
        MalformedPDU: Its items do not fit into it.
    """
    if len(body) < FIXED:
        raise MalformedPDU("an A-ASSOCIATE-RQ ends within its fixed fields")
    items = list(_items(body[FIXED:]))
    applications = [_text(value) for kind, value in items if kind == 0x10]
    contexts: dict[int, bytes | int] = {}
    for kind, value in items:
        if kind == 0x20 and len(value) >= 4:
            contexts.setdefault(value[0], _context(value))
    called, calling = _title(body[4:20]), _title(body[20:36])
    clean = _padded_title(called) + _padded_title(calling) + bytes(32) + _item(0x10, APPLICATION_CONTEXT.encode())
    clean += b"".join(context for context in contexts.values() if isinstance(context, bytes))
    clean += _item(0x50, _user_information([value for kind, value in items if kind == 0x50]))
    clean = struct.pack(">HH", 1, 0) + clean
    return AssociationRequest(
        calling_ae=calling,
        called_ae=called,
        clean=struct.pack(">BxI", 0x01, len(clean)) + clean,
        refused={number: result for number, result in contexts.items() if isinstance(result, int)},
        rejection=_rejection(int.from_bytes(body[:2], "big"), applications),
    )


def _rejection(version: int, applications: list[str]) -> tuple[int, int, int] | None:
    if not version & 1:
        return WRONG_VERSION
    return WRONG_APPLICATION if applications and APPLICATION_CONTEXT not in applications else None


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each item; zeros after the last one are padding."""
    at = 0
    while data[at:].strip(b"\x00"):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 4 + length > len(data):
            raise MalformedPDU(f"item 0x{data[at]:02X} of an A-ASSOCIATE-RQ is longer than what holds it")
        yield data[at], data[at + 4 : at + 4 + length]
        at += 4 + length


def _context(value: bytes) -> bytes | int:
    """A presentation context (9.3.2.2) encoded again, or the result with which it is refused."""
    subitems = [(kind, _text(uid)) for kind, uid in _items(value[4:])]
    abstract = [uid for kind, uid in subitems if kind == 0x30 and _usable(uid)]
    transfer = [uid for kind, uid in subitems if kind == 0x40 and _usable(uid)]
    if value[0] % 2 == 0:
        return NO_REASON
    if not abstract:
        return NO_ABSTRACT_SYNTAX
    if not transfer:
        return NO_TRANSFER_SYNTAX
    names = _item(0x30, abstract[0].encode()) + b"".join(_item(0x40, uid.encode()) for uid in dict.fromkeys(transfer))
    return _item(0x20, value[:1] + bytes(3) + names)


def _user_information(values: list[bytes]) -> bytes:
    """Maximum length, implementation class and version; the rest is not used."""
    subitems: dict[int, bytes] = {}
    for value in values:
        for kind, content in _items(value):
            subitems.setdefault(kind, content)
    length = subitems.get(0x51, b"")
    written = _item(0x51, length if len(length) == 4 else bytes(4))
    uid, version = _text(subitems.get(0x52, b"")), _text(subitems.get(0x55, b""))[:LONGEST_VERSION].strip()
    if _usable(uid):
        written += _item(0x52, uid.encode())
    return written + (_item(0x55, version.encode()) if version else b"")


def _title(value: bytes) -> str:
    """An AE title: what stands before the first NUL, without characters that it must not have (PS3.5, 6.2)."""
    head = value.lstrip(b"\x00 ").partition(b"\x00")[0]
    return _CONTROL.sub("", head.decode("ascii", "ignore")).strip()


def _padded_title(title: str) -> bytes:
    return (title or EMPTY_TITLE).encode().ljust(16)


def _text(value: bytes) -> str:
    return _CONTROL.sub("", value.decode("ascii", "ignore")).strip()


def _usable(uid: str) -> bool:
    return 0 < len(uid) <= LONGEST_UID


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value
