"""Writes a record of each ended association into the spool; keeps those that cannot be written yet."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from dicomio.files.spool.free_space import SpoolFull
from dicomio.files.spool.spool import Spool

LOG = logging.getLogger(__name__)

MOST_KEPT = 10_000


class AssociationRecords:
    """Writes records, and tries again when asked to; safe to use from several threads."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._kept: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=MOST_KEPT)
        self._lock = threading.Lock()

    def write(self, association_id: str, record: Mapping[str, Any]) -> None:
        """Write a record now, or keep it for `retry`."""
        try:
            self._spool.record_association(association_id, record)
        except (OSError, SpoolFull) as error:
            LOG.error("record_kept", extra={"fields": {"association_id": association_id, "reason": str(error)}})
            with self._lock:
                self._kept.append((association_id, record))

    def retry(self) -> None:
        """Write what was kept."""
        with self._lock:
            kept = list(self._kept)
            self._kept.clear()
        for association_id, record in kept:
            self.write(association_id, record)
