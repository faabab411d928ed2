"""What identifies a set of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def inputs_digest(inputs: Iterable[tuple[str, str, str]]) -> str:
    """One digest for the images that a job works on, whatever order they are in.

    Args:
        inputs: (role, SOP Instance UID, digest of the content) of every image.

    Returns:
        SHA-256, hexadecimal.
    """
    digest = hashlib.sha256()
    for parts in sorted(inputs):
        for part in parts:
            encoded = part.encode()
            digest.update(len(encoded).to_bytes(8, "big"))  # the length first: ("ab", "c") is not ("a", "bc")
            digest.update(encoded)
    return digest.hexdigest()
