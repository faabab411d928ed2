"""What this process may use of the machine: cores, and the processor's name."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from pathlib import Path


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: its affinity, further limited by a container's quota.

    Engines look at the affinity alone; in a container with a quota of 2 on a 64-core host they would start 64 threads.
    """
    affine = len(os.sched_getaffinity(0))
    try:
        quota, period = cgroup.read_text().split()
        limit = -(-int(quota) // int(period))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return affine
    return max(1, min(affine, limit))


@cache
def processor() -> str:
    """Name of the processor with a short digest of its instruction sets, which decide what precision it computes in."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info.splitlines())}
    features = fields.get("flags") or fields.get("Features", "")
    digest = hashlib.sha256(features.encode()).hexdigest()[:6]
    return f"{fields.get('model name', platform.machine())} ({digest})"
