"""What this process may use of the machine: cores, and what its processor does well."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WITHOUT_DOT_PRODUCTS = frozenset({"SSE41", "AVX", "AVX2", "AVX512_CORE"})
"""Values of oneDNN's own limit, ONEDNN_MAX_CPU_ISA, that keep it from instructions which the processor has."""

_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"})


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


@dataclass(frozen=True)
class Processor:
    """A processor as it describes itself.

    Attributes:
        model: Its name.
        features: Instruction sets, as /proc/cpuinfo spells and orders them.
        limit: The instruction set that oneDNN is limited to (ONEDNN_MAX_CPU_ISA); empty for no limit.
    """

    model: str
    features: str = ""
    limit: str = ""

    def __str__(self) -> str:
        """Name with a short digest of the instruction sets, which decide what precision it computes in."""
        digest = hashlib.sha256(self.features.encode()).hexdigest()[:6]
        return f"{self.model} ({digest})" + (f", held to {self.limit}" if self.limit else "")

    @property
    def known(self) -> bool:
        """Whether it is of the family (x86-64) that Scanward's engines were measured on."""
        return "sse2" in self.features.split()

    @property
    def saturates(self) -> bool:
        """Whether sums of products of eight bits are cut off at 16 bits: x86 without VNNI and AMX (PMADDUBSW)."""
        exact = _DOT_PRODUCTS & set(self.features.split()) and self.limit not in WITHOUT_DOT_PRODUCTS
        return self.known and not exact


def described(cpuinfo: str, limit: str = "") -> Processor:
    """The processor that the text of a /proc/cpuinfo is about."""
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in cpuinfo.splitlines())}
    features = fields.get("flags") or fields.get("Features", "")
    return Processor(fields.get("model name", platform.machine()), features, limit.upper())


@cache
def this_processor() -> Processor:
    """The processor that this process runs on."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return Processor(platform.processor() or platform.machine())
    return described(info, os.environ.get("ONEDNN_MAX_CPU_ISA", ""))


def processor() -> str:
    """Name of the processor, in plans' keys and job records."""
    return str(this_processor())
