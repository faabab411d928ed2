"""Whether a listener process can store images; decides the answer to C-ECHO."""

from __future__ import annotations

import logging
import os
import threading

from dicomio.files.spool.free_space import SpoolFull
from dicomio.files.spool.spool import Spool

LOG = logging.getLogger(__name__)

STORING_FAILS = "storing_fails"
STORING_WORKS = "storing_works_again"


class StorageHealth:
    """Knows whether storing worked the last time, and can try; logs each change."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._reason = ""
        self._lock = threading.Lock()

    def works(self) -> None:
        """Something was stored."""
        if self._reason:
            with self._lock:
                changed, self._reason = bool(self._reason), ""
            if changed:
                LOG.info(STORING_WORKS, extra={"fields": {"pid": os.getpid()}})

    def failed(self, reason: str) -> None:
        """Something could not be stored, and the peer is not to blame."""
        with self._lock:
            changed, self._reason = not self._reason, reason
        if changed:
            LOG.error(STORING_FAILS, extra={"fields": {"pid": os.getpid(), "reason": reason}})

    def check(self) -> bool:
        """Whether an image could be stored now: opens a file in the spool, writes, and removes it again."""
        try:
            with self._spool.open_writer("check") as writer:
                writer.write(b"check")
            os.stat(self._spool.incoming_folder)
            if not os.access(self._spool.incoming_folder, os.W_OK | os.X_OK):
                raise PermissionError("the spool's folder incoming/ is not writable")
        except (OSError, SpoolFull) as error:
            self.failed(str(error))
            return False
        self.works()
        return True
