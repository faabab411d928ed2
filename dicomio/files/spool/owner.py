"""Which database the spool belongs to, and how much of the spool that database has indexed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from dicomio.files.spool.durable import sync_folder
from dicomio.files.spool.temporary import FILE_MODE


class SpoolOwner:
    """The spool's files `indexed` and `installation.json`.

    Args:
        root: The spool's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def indexed(self) -> int | None:
        """Number of the newest row that a database had for this spool; None if it was never noted."""
        try:
            return int((self._root / "indexed").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def note_indexed(self, newest: int) -> None:
        """Note the number of the newest row. It may be lost in a power failure: an older number is true as well."""
        self._replace("indexed", str(newest), durable=False)

    def installation(self) -> tuple[str, str] | None:
        """Identifier that the spool shares with its database, and where that was; None if it has none yet."""
        try:
            note = json.loads((self._root / "installation.json").read_text())
            return str(note["id"]), str(note["database"])
        except FileNotFoundError:
            return None

    def set_installation(self, installation: str, database: str) -> None:
        """Note durably which installation and database the spool belongs to.

        Args:
            installation: The identifier.
            database: Where the database is, without a password.
        """
        if self.installation() != (installation, database):
            self._replace("installation.json", json.dumps({"id": installation, "database": database}), durable=True)

    def _replace(self, name: str, text: str, *, durable: bool) -> None:
        """Replace a small file; a reader finds the old one or the new one."""
        draft = self._root / f"{name}.new"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE), "w") as stream:
            stream.write(f"{text}\n")
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(draft, self._root / name)
        if durable:
            sync_folder(self._root)
