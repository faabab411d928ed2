"""The weighting of an MR image from its physics: what the timing makes bright, whatever the sequence is called."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from pipelines.rules.derived.acquisition import Acquisition
from pipelines.rules.derived.kinds import SequenceKind
from pipelines.rules.derived.value import Derived
from pipelines.rules.derived.wording import WEIGHTINGS

MaybeKind = Derived[SequenceKind] | None
T1_FLUID_MS = 4300.0
"""T1 of cerebrospinal fluid; hardly depends on the field strength (Rooney et al. 2007, MRM 57:308)."""
T1_TISSUE_MS = 1000.0
"""T1 of brain between 1.5 and 3 T, good enough for "is this flip angle large"."""

_REPHASED = re.compile(r"f[il]3d\dr")


def found(kind: SequenceKind | None, because: str) -> Derived[SequenceKind]:
    """An answer; kind None when we know that it is none of them."""
    return Derived(kind, because)


def fluid_null_ms(tr: float | None) -> float:
    """Inversion time at which fluid is dark for a repetition time in ms."""
    if tr is None:
        return 2000.0
    return T1_FLUID_MS * (math.log(2) - math.log1p(math.exp(-tr / T1_FLUID_MS)))


def by_inversion(a: Acquisition) -> MaybeKind:
    """Inversion recovery: which tissue the inversion time nulls, and how long the echo waits."""
    if not a.inversion or a.planar:
        return None
    if a.gradient_echo:
        return _inverted_gradient_echo(a)
    return _inversion_unknown(a) if a.ti is None else _inverted_spin_echo(a, a.ti)


def _inverted_spin_echo(a: Acquisition, ti: float) -> MaybeKind:
    if ti <= 180 or (ti <= 280 and (a.tr is None or a.tr >= 1800)):
        return found(SequenceKind.STIR, f"inversion at {ti:g} ms nulls fat")
    if a.te is not None and a.te >= 60 and ti > 0.62 * fluid_null_ms(a.tr):
        return found(SequenceKind.FLAIR, f"inversion at {ti:g} ms nulls fluid, TE {a.te:g} ms")
    if ti <= 1400 and (a.te is None or a.te < 60):
        return found(SequenceKind.T1, f"inversion at {ti:g} ms, short echo")
    return None


def _inverted_gradient_echo(a: Acquisition) -> MaybeKind:
    if (a.te is None or a.te < 12) and (a.ti is None or a.ti < 1700):
        return found(SequenceKind.T1, f"inversion-prepared gradient echo ({a.timing()})")
    return None


def _inversion_unknown(a: Acquisition) -> MaybeKind:
    """The inversion time is not given: the description, else the TR and TE that only one of them uses."""
    named = named_weighting(a)
    if named in (SequenceKind.FLAIR, SequenceKind.STIR, SequenceKind.T1):
        return found(named, "inversion recovery, by its name")
    if a.tr is not None and a.te is not None:
        if a.tr >= 5000 and a.te >= 90:
            return found(SequenceKind.FLAIR, f"inversion recovery, TR {a.tr:g} ms, TE {a.te:g} ms")
        if a.tr <= 3000 and a.te <= 30:
            return found(SequenceKind.T1, f"inversion recovery, TR {a.tr:g} ms, TE {a.te:g} ms")
    return found(None, "inversion recovery at an unknown time")


def by_echo_planar(a: Acquisition) -> MaybeKind:
    """Echo planar: spin echo is for diffusion, gradient echo for BOLD; without either word the echo time tells."""
    if not a.planar:
        return None
    if "MOSAIC" in a.image_type and a.te is not None and a.te < 55:
        return found(SequenceKind.BOLD, f"echo planar mosaic, TE {a.te:g} ms")
    gradient = "GR" in a.scanning and "SE" not in a.scanning
    if not gradient and a.te is not None and a.te >= 45 and (a.te >= 55 or "SE" in a.scanning):
        return found(SequenceKind.DWI, f"spin-echo planar, TE {a.te:g} ms")
    if a.gradient_echo or (a.te is not None and a.te < 55):
        return _gradient_planar(a)
    return None


def _gradient_planar(a: Acquisition) -> MaybeKind:
    if named_weighting(a) in (SequenceKind.T2STAR, SequenceKind.T2) and not a.dynamic:
        return found(
            SequenceKind.T2STAR, f"gradient-echo planar, one volume, TE {a.te:g} ms" if a.te else "gradient-echo planar"
        )
    if a.agent:
        return found(SequenceKind.PERFUSION, f"gradient-echo planar with a contrast agent ({a.timing()})")
    return found(SequenceKind.BOLD, f"gradient-echo planar ({a.timing()})")


def by_hidden_diffusion(a: Acquisition) -> MaybeKind:
    """Philips writes echo planar diffusion as a plain 2D spin echo, and a b-value of 0 into other series too.

    What gives it away: the same slices again and again, pixels that nobody accepts in a turbo spin echo, or the b-value
    where timing and pixels do not fit a T2.
    """
    if a.three_d or a.inversion or not a.spin_echo or a.te is None or not 45 <= a.te <= 140:
        return None
    if named_weighting(a) is not None or len(a.echoes) > 1:
        return None
    if "SE" in a.scanning and a.volumes is not None and a.volumes >= 4:
        return found(SequenceKind.DWI, f"2D spin echo of {a.volumes:g} volumes, TE {a.te:g} ms")
    if "SE" in a.scanning and a.pixel is not None and a.pixel >= 1.7:
        return found(SequenceKind.DWI, f"2D spin echo with large pixels ({a.pixel:g} mm), TE {a.te:g} ms")
    if a.b_values and not (a.te >= 70 and a.pixel is not None and a.pixel < 0.9):
        return found(SequenceKind.DWI, f"a diffusion weighting is given (0), 2D spin echo, TE {a.te:g} ms")
    return None


def by_gradient_echo(a: Acquisition) -> MaybeKind:
    """Gradient echo: the echo time tells T2*, the flip angle tells T1 from proton density."""
    if not a.gradient_echo or a.te is None:
        return None
    if _functional_timing(a):
        return found(SequenceKind.BOLD, f"gradient echo, large pixels, {a.timing()}")
    if a.te >= 12 or (len(a.echoes) >= 3 and a.echoes[-1] >= 15):
        return _susceptibility(a)
    if named_weighting(a) in (SequenceKind.SSFP, SequenceKind.T2STAR):
        return None
    spoiled = {"SP", "MP"} & a.variant and (a.flip or 0) < 40  # Siemens says SP of CISS and TrueFISP too
    if "SS" in a.variant and not spoiled and _balanced_timing(a):
        return found(SequenceKind.SSFP, f"steady state without spoiling ({a.timing()})")
    return _spoiled(a)


def _functional_timing(a: Acquisition) -> bool:
    """Philips writes functional series as plain gradient echoes."""
    if a.three_d or a.te is None or a.tr is None or a.pixel is None:
        return False
    coarse = a.pixel >= (1.5 if a.dynamic else 2.0)
    return coarse and 20 <= a.te <= 50 and a.tr >= 500 and (a.flip or 90) >= 40


def _susceptibility(a: Acquisition) -> MaybeKind:
    if named_weighting(a) is SequenceKind.T1 and a.te is not None and a.te < 15:
        return found(SequenceKind.T1, f"gradient echo, {a.timing()}, by its name")
    if a.three_d and a.tr is not None and a.tr < 80 and len(a.echoes) <= 1 and a.te is not None and a.te >= 15:
        named = named_weighting(a)
        return found(
            SequenceKind.T2STAR if named is SequenceKind.T2STAR else SequenceKind.SWI,
            f"3D gradient echo with a late echo ({a.timing()})",
        )
    return found(SequenceKind.T2STAR, f"gradient echo with a late echo ({a.timing()})")


def _balanced_timing(a: Acquisition) -> bool:
    return a.tr is not None and a.tr < 15 and a.te is not None and 0.35 < a.te / a.tr < 0.65 and (a.flip or 0) >= 25


def tof_timing(a: Acquisition) -> bool:
    """Whether the timing is one of time-of-flight angiography; a slow 3D T1 has it too."""
    return a.tr is not None and 14 <= a.tr <= 50 and (a.te is None or a.te <= 8)


def _spoiled(a: Acquisition) -> MaybeKind:
    """Short echo: angiography, prepared for T1, or weighted by its flip angle."""
    if tof_timing(a) and _compensated(a):
        return found(SequenceKind.TOF, f"3D gradient echo with flow compensation ({a.timing()})")
    if "MP" in a.variant:
        return found(SequenceKind.T1, f"prepared gradient echo with a short echo ({a.timing()})")
    if a.flip is None or a.tr is None or (a.tr < 50 and not a.thin):
        return None  # 2D with such a TR is a scout, a cine or a bolus chase, whatever the flip angle
    return _by_flip_angle(a, a.flip, a.tr)


def _by_flip_angle(a: Acquisition, flip: float, tr: float) -> MaybeKind:
    """T1 when the flip angle is large for the repetition time (Ernst), proton density when it is small."""
    best = math.degrees(math.acos(math.exp(-tr / T1_TISSUE_MS)))
    if a.three_d and tof_timing(a) and flip <= 25 and named_weighting(a) is None:
        return found(None, f"T1 and time of flight have this timing ({a.timing()})")
    if flip >= 0.85 * best and tr <= 600:
        return found(SequenceKind.T1, f"gradient echo, flip angle large for its TR ({a.timing()})")
    if tr > 600 and a.three_d and named_weighting(a) is SequenceKind.T1:  # the TR of a prepared train, not of one echo
        return found(SequenceKind.T1, f"3D gradient echo in trains, by its name ({a.timing()})")
    if flip <= 0.5 * best and a.three_d:
        return found(SequenceKind.PD, f"gradient echo, flip angle small for its TR ({a.timing()})")
    return None


def _compensated(a: Acquisition) -> bool:
    """Flow stays in phase: Siemens calls that `r`, others list it; a T1 of the brain has no use for it."""
    if not a.three_d:
        return False
    fine = a.pixel is not None and a.pixel <= 0.75
    listed = bool({"FC", "MT", "VASCTOF_GEMS"} & a.options) or "MTC" in a.variant
    return (fine and listed) or _REPHASED.match(a.pulse) is not None


def by_spin_echo(a: Acquisition) -> MaybeKind:
    """Short TR and TE: T1; long TR and short TE: proton density; long TE: T2. What lies between is left to the name."""
    if a.gradient_echo or not a.spin_echo or a.te is None or a.tr is None:
        return None
    if len({_spin_echo_kind(a.tr, echo) for echo in a.echoes} - {None}) > 1:
        return found(None, f"several weightings in one series (TE {', '.join(f'{echo:g}' for echo in a.echoes)} ms)")
    kind = _spin_echo_kind(a.tr, a.te)
    return found(kind, f"spin echo, TR {a.tr:g} ms, TE {a.te:g} ms") if kind else None


def _spin_echo_kind(tr: float, te: float) -> SequenceKind | None:
    if tr <= 1200 and te <= 30:
        return SequenceKind.T1
    if tr >= 1800 and te < 50:
        return SequenceKind.PD
    if tr >= 600 and te >= 60:
        return SequenceKind.T2
    return None


def named_weighting(a: Acquisition) -> SequenceKind | None:
    """The weighting that the description, else the protocol name, speaks of."""
    return _weighting_in(a.name) or _weighting_in(a.protocol)


@lru_cache(maxsize=8192)
def _weighting_in(name: str) -> SequenceKind | None:
    return next((SequenceKind(value) for value, pattern in WEIGHTINGS if pattern.search(name)), None)
