"""How much room the disk of the spool has, and the error when there is too little."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dicomio.errors import DicomError

RESERVE_BYTES = 256 << 20  # kept free, so that the database and the results still find room when the disk fills up
OUT_OF_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


@dataclass(eq=False, kw_only=True)
class SpoolFull(DicomError):  # noqa: N818 - named as the others in dicomio/errors.py
    """The disk of the spool has no room. The sender is told so and nothing is stored.

    Attributes:
        free: Bytes that are free on the file system of the spool.
        reserve: Bytes that have to stay free.
    """

    message: ClassVar[str] = (
        "The spool's disk is full: {free} bytes are free and {reserve} must stay free. Nothing was stored."
    )

    free: int
    reserve: int


@dataclass
class FreeSpace:
    """The free space of a file system, of which a reserve must stay free.

    Attributes:
        folder: A folder on that file system.
        reserve: Bytes that must stay free.
    """

    folder: Path
    reserve: int

    def free_bytes(self) -> int:
        """Bytes that are free for us."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def require(self) -> None:
        """Raise SpoolFull if less than the reserve is free."""
        free = self.free_bytes()
        if free < self.reserve:
            raise SpoolFull(free=free, reserve=self.reserve)

    def explain(self, error: OSError) -> Exception:
        """SpoolFull for the ways in which a disk says that it is full, else the error itself."""
        if error.errno in OUT_OF_SPACE:
            return SpoolFull(free=self.free_bytes(), reserve=self.reserve)
        return error
