"""What a peer can do wrong so that we abort, with the reason that A-ABORT gives (PS3.8, table 9-26)."""

from __future__ import annotations

from typing import ClassVar


class ProtocolViolation(ValueError):  # noqa: N818 - named as the others in dicomio/errors.py
    """The peer broke the protocol or a limit; the message says how."""

    abort_reason: ClassVar[int] = 0x00  # not specified


class UnknownPDU(ProtocolViolation):
    """A PDU of a type that does not exist."""

    abort_reason = 0x01


class UnexpectedPDU(ProtocolViolation):
    """A PDU that has no place at this point."""

    abort_reason = 0x02


class MalformedPDU(ProtocolViolation):
    """A PDU, or a message in it, that does not hold together."""

    abort_reason = 0x06


class MessageTooLarge(ProtocolViolation):
    """More than we take."""

    abort_reason = 0x06


class PeerTooSlow(ProtocolViolation):
    """The peer did not send what it began to send, or asked for nothing."""
