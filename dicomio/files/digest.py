"""SHA-256 of a file's data set, without preamble and file meta, which differ from sender to sender."""

from __future__ import annotations

import hashlib
from pathlib import Path

_CHUNK = 1 << 20
_HEAD = 144


def content_digest(path: Path) -> str:
    """SHA-256 of the data set, without preamble and file meta: these name the sender, and differ for the same image."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        stream.seek(data_set_offset(stream.read(_HEAD)))
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def data_set_offset(head: bytes) -> int:
    """Where the data set begins, by File Meta Information Group Length (PS3.10, 7.1); 0 for a file without it."""
    if len(head) < _HEAD or head[128:132] != b"DICM" or head[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        return 0
    return _HEAD + int.from_bytes(head[140:144], "little")
