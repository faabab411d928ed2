"""Files to be sent: their presentation contexts, and what to send if the peer does not accept them as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom.presentation import PresentationContext

from dicomio.files.file_meta import read_file_meta
from dicomio.network.scu.association import MOST_CONTEXTS

PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
LOSSLESS = frozenset(
    {
        *PLAIN,
        DeflatedExplicitVRLittleEndian,
        HTJ2KLossless,
        HTJ2KLosslessRPCL,
        JPEG2000Lossless,
        JPEGLossless,
        JPEGLosslessSV1,
        JPEGLSLossless,
        RLELossless,
    }
)
"""What can be sent uncompressed instead: decoding gives the very values that were encoded."""


class NotConvertible(ValueError):  # noqa: N818 - named as the errors in dicomio/errors.py
    """A file cannot be sent in any transfer syntax that the peer accepts; the message says why."""


@dataclass(frozen=True)
class StorageContext:
    """A SOP class in a transfer syntax: one presentation context."""

    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True)
class OutgoingFile:
    """A file to be sent.

    Attributes:
        path: The file.
        sop_instance_uid: Which instance it is.
        kind: Of what kind.
        size: Bytes of the file.
    """

    path: Path
    sop_instance_uid: str
    kind: StorageContext
    size: int

    @classmethod
    def of(cls, path: Path) -> OutgoingFile:
        """Read a file's head; raises NotDicom, OSError, or ValueError if UIDs are missing."""
        head = read_file_meta(path)
        if not (head.sop_class_uid and head.sop_instance_uid and head.transfer_syntax_uid):
            raise ValueError("its file meta information lacks SOP class, SOP instance or transfer syntax")
        return cls(
            path,
            head.sop_instance_uid,
            StorageContext(head.sop_class_uid, head.transfer_syntax_uid),
            path.stat().st_size,
        )

    def payload(self, accepted: Collection[StorageContext]) -> Path | Dataset:
        """What to send: the file as it is, or its data set for a transfer syntax without compression.

        Args:
            accepted: The kinds that the peer accepts.

        Raises:
            NotConvertible: The peer accepts nothing that the file can be turned into without loss.
        """
        if self.kind in accepted:
            return self.path
        if not any(StorageContext(self.kind.sop_class_uid, syntax) in accepted for syntax in PLAIN):
            raise NotConvertible(f"the peer does not accept {_name(self.kind)}, nor uncompressed")
        own = UID(self.kind.transfer_syntax_uid)
        if own not in LOSSLESS:
            raise NotConvertible(f"the peer does not accept {_name(self.kind)}, which cannot be converted without loss")
        try:
            dataset = dcmread(self.path)
            if own.is_encapsulated:
                dataset.decompress(as_rgb=False, generate_instance_uid=False)
        except Exception as error:  # decoders raise whatever they like
            raise NotConvertible(f"{_name(self.kind)} cannot be decoded: {type(error).__name__}") from error
        return dataset


def batches(files: Iterable[OutgoingFile]) -> Iterator[tuple[list[OutgoingFile], list[PresentationContext]]]:
    """Split files into lots that one association can carry, each with the contexts to propose for it."""
    lot: list[OutgoingFile] = []
    proposals: dict[StorageContext | str, PresentationContext] = {}
    for file in files:
        needed: dict[StorageContext | str, list[str]] = {
            file.kind: [file.kind.transfer_syntax_uid],
            file.kind.sop_class_uid: list(PLAIN),
        }
        new = {key: syntaxes for key, syntaxes in needed.items() if key not in proposals}
        if len(proposals) + len(new) > MOST_CONTEXTS:
            yield lot, list(proposals.values())
            lot, proposals, new = [], {}, needed
        lot.append(file)
        for key, syntaxes in new.items():
            proposals[key] = _context(file.kind.sop_class_uid, syntaxes)
    if lot:
        yield lot, list(proposals.values())


def _context(sop_class_uid: str, syntaxes: list[str]) -> PresentationContext:
    context = PresentationContext()
    context.abstract_syntax = UID(sop_class_uid)
    context.transfer_syntax = [UID(syntax) for syntax in syntaxes]
    return context


def _name(kind: StorageContext) -> str:
    return f"{UID(kind.sop_class_uid).name} in {UID(kind.transfer_syntax_uid).name}"
