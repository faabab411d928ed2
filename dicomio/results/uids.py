"""UIDs that are derived from the inputs, so that a retry makes the same object again."""

from __future__ import annotations

import hashlib
import uuid


def derived_uid(*parts: str) -> str:
    """A DICOM UID that depends on nothing but the parts, in this order.

    The UID has the UUID-derived form of PS3.5 B.2: "2.25." and a UUID as a decimal number, here 122 bits of a SHA-256.

    Args:
        parts: What the object is made from: input digest, model digest, name of the output, ...

    Returns:
        A UID of at most 44 characters; equal parts give equal UIDs, and ("ab", "c") differs from ("a", "bc").

    Raises:
        ValueError: No parts: every caller would get the same UID.
    """
    if not parts:
        raise ValueError("a derived UID needs at least one part to be derived from")
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=5).int}"
