"""What was imported from a watched folder: it is removed there, or noted in the ledger if it stays."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from daemon.intake.ledger import ledger_of
from daemon.intake.reported_errors import ReportedErrors
from daemon.intake.settling import Signature, signature_of


class ImportedFiles:
    """The imported files of one watched folder, and the folders that they leave empty.

    Args:
        root: The watched folder.
        spool_root: The spool's folder, where the ledger lies.
        errors: Where errors are reported.
        keep: The files stay in the folder.
        delay: Seconds that an emptied folder stays: a sender may still write to it.
    """

    def __init__(self, root: Path, spool_root: Path, errors: ReportedErrors, *, keep: bool, delay: float) -> None:
        self._root = root
        self._errors = errors
        self._keep = keep
        self._delay = delay
        self._ledger = ledger_of(root, spool_root)
        self._emptied: dict[Path, float] = {}

    def __contains__(self, file: tuple[Path, Signature]) -> bool:
        return file in self._ledger

    def prune(self, present: Collection[tuple[Path, Signature]]) -> None:
        """Forget the files that are not there any more."""
        self._ledger.prune(present)

    def finish(self, path: Path, signature: Signature) -> bool:
        """Remove or note a file that is durable in the spool; False if it was written to after it was read."""
        if not self._keep:
            return self.remove(path, signature)
        self._note(path, signature)
        return True

    def remove(self, path: Path, signature: Signature) -> bool:
        """Remove a file; False if it was written to after it was read, so that it has to be imported again."""
        if signature_of(path) != signature:
            return False
        try:
            path.unlink()
        except FileNotFoundError:
            return True
        except OSError as error:
            self._errors.report("file_not_removed", path.parent, error)
            self._note(path, signature)
            return True
        self._emptied[path.parent] = time.monotonic()
        return True

    def remove_emptied(self) -> None:
        """Remove the folders that held nothing but imported files, when the delay is over."""
        before = time.monotonic() - self._delay
        for folder in [folder for folder, since in self._emptied.items() if since <= before]:
            del self._emptied[folder]
            with suppress(OSError):  # there is something else in it, or it is gone
                for each in (folder, *folder.parents):
                    if each == self._root:
                        break
                    each.rmdir()

    def _note(self, path: Path, signature: Signature) -> None:
        try:
            self._ledger.add(path, signature)
        except OSError as error:  # noted in memory only; after a restart it is imported again, and found to be a copy
            self._errors.report("ledger_not_written", self._root, error)
