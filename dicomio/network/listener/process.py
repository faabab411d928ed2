"""Entry point of a listener process: `python -m dicomio.network.listener.process`, started by the supervisor.

It knows the spool and no database, and accepts on a socket that it inherits. The first line of standard input is its
settings. When standard input ends, because the parent closes it or has died, the process stops accepting, lets running
associations end, and exits. Standard output carries its log, one JSON object per line.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import warnings

from dicomio.files.spool.notes import timestamp
from dicomio.network.listener.settings import ListenerSettings

UNNEEDED = ("numpy", "gdcm", "requests", "pylibjpeg", "openjpeg", "jpeg_ls", "PIL")
"""What pydicom would import for decoding pixels; a process that passes bytes on does with half the memory without."""


class JSONLines(logging.Formatter):
    """Log records as one JSON object per line, for the parent to log again."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = getattr(record, "fields", {})
        if record.exc_info:
            fields = fields | {"exception": self.formatException(record.exc_info)}
        entry = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "at": timestamp(),
        }
        return json.dumps(entry | fields, default=str)


def main(listening_fd: int, table_fd: int, mine: int) -> None:
    """Run until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # meant for the parent, who ends us by closing standard input
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JSONLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for library in ("pynetdicom", "pydicom"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # pydicom's, about what peers name their instances
    logging.raiseExceptions = False  # the parent may be gone
    settings = ListenerSettings.from_json(sys.stdin.readline())
    sys.modules.update(dict.fromkeys(UNNEEDED))  # type: ignore[arg-type]
    from dicomio.network.listener.accept_loop import ListenerProcess, raise_descriptor_limit, relax_pynetdicom_checks
    from dicomio.network.listener.connection_table import ConnectionTable

    raise_descriptor_limit()
    relax_pynetdicom_checks()
    listening = socket.socket(fileno=listening_fd)
    listening.setblocking(False)
    process = ListenerProcess(settings, listening, ConnectionTable(table_fd, settings, mine))
    logging.getLogger("dicomio.network.listener.supervisor").info(
        "listener_process_ready", extra={"fields": {"pid": os.getpid()}}
    )
    process.run(sys.stdin.fileno())


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))
