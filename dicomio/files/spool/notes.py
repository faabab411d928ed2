"""Writes the spool's JSON files durably: lost images, quarantine reasons, association records."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicomio.files.identity import identity_of
from dicomio.files.spool import lost
from dicomio.files.spool.free_space import FreeSpace
from dicomio.files.spool.temporary import TemporaryFiles
from dicomio.files.spool.writer import SpoolWriter, safe_name


class SpoolNotes:
    """Writes the notes in lost/, the records in associations/, and the reasons in quarantine/.

    Args:
        root: The spool's folder.
        files: New files in tmp/.
        space: Free space of the disk.
    """

    def __init__(self, root: Path, files: TemporaryFiles, space: FreeSpace) -> None:
        self._root = root
        self._files = files
        self._space = space

    def write_lost(self, name: str, note: Mapping[str, Any]) -> None:
        """Leave a note (`lost.note`) that something came and could not be used, for the indexer."""
        self._write(self._root / "lost" / f"{safe_name(name)}.{self._files.unique_name()}.json", note)

    def write_quarantined(self, path: Path, kept: str, reason: str, kind: str, association: str = "") -> None:
        """Leave a note in lost/ that a file cannot be used.

        Args:
            path: The file.
            kept: Its name in quarantine/.
            reason: What is wrong with it, as the end of a sentence.
            kind: The name of the error class.
            association: The association that brought it.
        """
        how = lost.CUT_OFF if kind == "TruncatedFile" else lost.QUARANTINED
        self.write_lost(
            kept, lost.note(how, reason, identity_of(path), timestamp(), file=kept, association=association)
        )

    def write_reason(self, target: Path, reason: str, origin: str) -> None:
        """Write `<target>.reason.json`: why the file is here, the base name that it had, and when."""
        note = {"reason": reason, "origin": Path(origin).name, "time": timestamp()}
        self._write(target.with_name(f"{target.name}.reason.json"), note)

    def write_association(self, association_id: str, record: Mapping[str, Any]) -> Path:
        """Write the record of an association that ended."""
        path = self._root / "associations" / f"{safe_name(association_id)}.json"
        self._write(path, record)
        return path

    def _write(self, target: Path, content: Mapping[str, Any]) -> None:
        file = self._files.create(suffix=".note")
        with SpoolWriter(file, target.parent, target.name, self._space) as writer:
            writer.write(json.dumps(content, indent=1).encode())
            writer.move(target, sync_entry=True)


def timestamp() -> str:
    """Now, in UTC, as ISO 8601 with milliseconds."""
    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"
