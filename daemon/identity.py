"""Who we are in the job database."""

from __future__ import annotations

import os
import socket

WORKER = f"{socket.gethostname()}:{os.getpid()}"
"""Host and process of this daemon; what a dead one of the same host had begun is recovered at the next start."""
