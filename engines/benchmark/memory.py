"""How much memory a contender takes: measured in a process of its own, whose high-water mark starts low."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from engines.benchmark.contender import Contender
    from engines.contract import Arrays

log = structlog.get_logger(__name__)


def memory_of(contender: Contender, feeds: Arrays) -> float | None:
    """MiB beyond what the process had before it opened the contender; None if it died, of too little perhaps."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_report, args=(contender, feeds, sender), daemon=True)
    child.start()
    sender.close()
    try:
        return float(receiver.recv())
    except EOFError:
        log.warning("memory_not_measured", engine=contender.engine, precision=contender.precision)
        return None
    finally:
        child.join()
        receiver.close()


def _report(contender: Contender, feeds: Arrays, sender: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches both of us, and the parent says what there is to say
    before = _high_water_mib()
    with contender.opening() as run:
        for _ in range(2):
            run(feeds)
    sender.send(_high_water_mib() - before)


def _high_water_mib() -> float:
    """Largest resident memory of this process; getrusage would count what the parent had before it started us."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
