"""What kind of MR sequence a series is: from the physics first, from what people called it where physics cannot tell.

The same contrast has a dozen names at five vendors, and descriptions are typed by people, copied from another protocol,
or blanked; TR, TE, TI and flip angle are what the scanner did. So names decide only what the timing cannot show
(diffusion against plain echo planar, angiography, perfusion, maps) and what lies between two weightings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

from pipelines.acquisition import Acquisition
from pipelines.derived import Derived
from pipelines.wording import SEQUENCE_NAMES, WEIGHTINGS


class Kind(StrEnum):
    """The values of `sequence`."""

    T1 = "t1"
    T2 = "t2"
    PD = "pd"
    FLAIR = "flair"
    STIR = "stir"
    DIR = "dir"
    T2STAR = "t2star"
    SWI = "swi"
    SSFP = "ssfp"
    DWI = "dwi"
    ADC = "adc"
    DIFFUSION_MAP = "diffusion_map"
    BOLD = "bold"
    PERFUSION = "perfusion"
    TOF = "tof"
    ANGIO = "angio"
    FIELDMAP = "fieldmap"
    SPECTROSCOPY = "spectroscopy"
    MAP = "map"
    LOCALIZER = "localizer"


Answer = Derived[Kind] | None

_MAPS = {
    "ADC": Kind.ADC,
    "FA": Kind.DIFFUSION_MAP,
    "TENSOR": Kind.DIFFUSION_MAP,
    "EADC": Kind.DIFFUSION_MAP,
    "EXP": Kind.DIFFUSION_MAP,
    "TRACEW": Kind.DWI,
    "TRACE": Kind.DWI,
    "CALC_BVALUE": Kind.DWI,
    "DIFFUSION": Kind.DWI,
    "PERFUSION": Kind.PERFUSION,
    "ASL": Kind.PERFUSION,
    "TTP": Kind.PERFUSION,
    "MTT": Kind.PERFUSION,
    "RELCBF": Kind.PERFUSION,
    "RELCBV": Kind.PERFUSION,
    "RCBF": Kind.PERFUSION,
    "RCBV": Kind.PERFUSION,
    "CBF": Kind.PERFUSION,
    "CBV": Kind.PERFUSION,
    "PBP": Kind.PERFUSION,
    "GBP": Kind.PERFUSION,
    "SWI": Kind.SWI,
    "MNIP": Kind.SWI,
    "FMRI": Kind.BOLD,
    "VELOCITY": Kind.ANGIO,
    "MAP": Kind.MAP,
}
"""Values of ImageType that name what was computed."""

_PULSES: tuple[tuple[str, Kind], ...] = (
    (r"(?:ep|re)_b\d|ep2d_diff|epi_d[tw]i|.*dwi|.*dti", Kind.DWI),
    (r"fm2d|fmap", Kind.FIELDMAP),
    (r"tgse|tgir3d|.*asl", Kind.PERFUSION),
    (r"svs|csi|fid_|fid$", Kind.SPECTROSCOPY),
    (r"me2d|me3d", Kind.T2STAR),
    (r"tfi\d|ci3d|de3d", Kind.SSFP),
    (r"fsbb|.*swi", Kind.SWI),
    (r"fi3d|tof|.*tof", Kind.TOF),
)
"""Pulse sequences that make one kind of image only; Siemens' names first, they stand in SequenceName."""

_DECLARED = {
    "DIFFUSION": Kind.DWI,
    "PERFUSION": Kind.PERFUSION,
    "FLUID_ATTENUATED": Kind.FLAIR,
    "STIR": Kind.STIR,
    "TOF": Kind.TOF,
    "FLOW_ENCODED": Kind.ANGIO,
    "PROTON_DENSITY": Kind.PD,
    "T1": Kind.T1,
    "T2": Kind.T2,
    "T2_STAR": Kind.T2STAR,
}
"""AcquisitionContrast of enhanced objects (PS3.3 C.8.13.3.1)."""
_DECLARED_SPECIAL = frozenset({"DIFFUSION", "PERFUSION", "TOF", "FLOW_ENCODED"})


def classify(a: Acquisition) -> Derived[Kind]:
    """The kind of sequence of an MR series that is no localizer; value None where the header does not tell."""
    for step in _STEPS:
        found = step(a)
        if found is not None:
            return found
    return Derived(None, f"neither the timing ({a.timing() or 'none given'}) nor the names tell")


def _found(kind: Kind | None, because: str) -> Derived[Kind]:
    return Derived(kind, because)


def _by_computed(a: Acquisition) -> Answer:
    """Maps and recalculated images, which carry the timing of what they were computed from."""
    for part in a.image_type[2:]:
        words = re.split(r"[ _]+", part)
        kind = _MAPS.get(part) or _MAPS.get(words[0]) or _MAPS.get(words[-1])
        if kind is Kind.DWI and ("ADC" in a.image_type or "FA" in a.image_type):
            continue
        if kind is not None:
            return _found(kind, f"ImageType says {part}")
    return None


def _by_declared(a: Acquisition) -> Answer:
    kind = _DECLARED.get(a.declared)
    if kind is not None and a.declared in _DECLARED_SPECIAL:
        return _found(kind, f"AcquisitionContrast says {a.declared}")
    return None


def _by_pulse(a: Acquisition) -> Answer:
    for pattern, kind in _PULSES if a.pulse else ():
        if re.match(pattern, a.pulse) and (kind is not Kind.TOF or _tof_timing(a)):
            return _found(kind, f"pulse sequence {a.pulse}")
    return None


def _by_b_value(a: Acquisition) -> Answer:
    if len(a.b_values) > 1 or (a.b_values and a.b_values[0] > 0):
        return _found(Kind.DWI, f"DiffusionBValue {a.b_values[-1]:g}")
    return None


def _by_name(a: Acquisition) -> Answer:
    """Kinds that timing cannot show, from the description; from the protocol name when the description is empty."""
    for where, name in (("description", a.name), ("protocol name", a.protocol)):
        for value, pattern in SEQUENCE_NAMES:
            match = pattern.search(name)
            kind = Kind(value)
            if match and _plausible(kind, a):
                return _found(kind, f"{where} says {match[0].strip()!r}")
        if name:
            break
    return None


def _plausible(kind: Kind, a: Acquisition) -> bool:
    """Whether the timing allows what the name says: protocols are copied, and descriptions stay behind."""
    match kind:
        case Kind.DWI:
            return not (a.gradient_echo and not a.planar) and not (a.inversion and (a.ti or 0) > 1000 and not a.planar)
        case Kind.BOLD:
            return a.gradient_echo or a.planar
        case Kind.SWI | Kind.TOF | Kind.ANGIO:
            return not (a.spin_echo and a.tr is not None)
        case Kind.DIR:
            return not a.gradient_echo
        case _:
            return True


def _by_phase(a: Acquisition) -> Answer:
    """Phase images and subtractions carry the timing of a weighting that they do not show."""
    parts = set(a.image_type[2:])
    if parts & {"P", "PHASE", "PHASE MAP"} and not a.planar:
        return _found(None, "a phase image")
    if parts & {"SUB", "SUBTRACTION"} or re.search(r"\bsub(?:traction|tracted)?\b", a.name):
        return _found(None, "a subtraction")
    return None


def _by_inversion(a: Acquisition) -> Answer:
    """Inversion recovery: which tissue the inversion time nulls, and how long the echo waits."""
    if not a.inversion or a.planar:
        return None
    if a.gradient_echo:
        return _inverted_gradient_echo(a)
    return _inversion_unknown(a) if a.ti is None else _inverted_spin_echo(a, a.ti)


def _inverted_spin_echo(a: Acquisition, ti: float) -> Answer:
    if ti <= 180 or (ti <= 280 and (a.tr is None or a.tr >= 1800)):
        return _found(Kind.STIR, f"inversion at {ti:g} ms nulls fat")
    if a.te is not None and a.te >= 60 and ti > 0.62 * (a.fluid_null_ms or 2000.0):
        return _found(Kind.FLAIR, f"inversion at {ti:g} ms nulls fluid, TE {a.te:g} ms")
    if ti <= 1400 and (a.te is None or a.te < 60):
        return _found(Kind.T1, f"inversion at {ti:g} ms, short echo")
    return None


def _inverted_gradient_echo(a: Acquisition) -> Answer:
    if (a.te is None or a.te < 12) and (a.ti is None or a.ti < 1700):
        return _found(Kind.T1, f"inversion-prepared gradient echo ({a.timing()})")
    return None


def _inversion_unknown(a: Acquisition) -> Answer:
    """The inversion time is not given: the description, else a TR that only FLAIR uses."""
    named = _named_weighting(a)
    if named in (Kind.FLAIR, Kind.STIR, Kind.T1):
        return _found(named, "inversion recovery, by its name")
    if a.tr is not None and a.te is not None and a.tr >= 7000 and a.te >= 80:
        return _found(Kind.FLAIR, f"inversion recovery, TR {a.tr:g} ms, TE {a.te:g} ms")
    if a.tr is not None and a.te is not None and a.tr <= 3000 and a.te <= 30:
        return _found(Kind.T1, f"inversion recovery, TR {a.tr:g} ms, TE {a.te:g} ms")
    return None


def _by_echo_planar(a: Acquisition) -> Answer:
    """Echo planar: spin echo is for diffusion, gradient echo for BOLD; without either word the echo time tells."""
    if not a.planar:
        return None
    if "MOSAIC" in a.image_type and a.te is not None and a.te < 55:
        return _found(Kind.BOLD, f"echo planar mosaic, TE {a.te:g} ms")
    gradient = "GR" in a.scanning and "SE" not in a.scanning
    if not gradient and a.te is not None and a.te >= 45 and (a.te >= 55 or "SE" in a.scanning):
        return _found(Kind.DWI, f"spin-echo planar, TE {a.te:g} ms")
    if a.gradient_echo or (a.te is not None and a.te < 55):
        return _gradient_planar(a)
    return None


def _gradient_planar(a: Acquisition) -> Answer:
    if _named_weighting(a) in (Kind.T2STAR, Kind.T2) and not a.dynamic:
        return _found(
            Kind.T2STAR, f"gradient-echo planar, one volume, TE {a.te:g} ms" if a.te else "gradient-echo planar"
        )
    return _found(Kind.BOLD, f"gradient-echo planar ({a.timing()})")


def _by_hidden_diffusion(a: Acquisition) -> Answer:
    """Philips writes echo planar diffusion as a plain 2D spin echo, and a b-value of 0 into other series too.

    What gives it away: the same slices again and again, pixels that nobody accepts in a turbo spin echo, or the b-value
    where timing and pixels do not fit a T2.
    """
    if a.three_d or a.inversion or not a.spin_echo or a.te is None or not 45 <= a.te <= 140:
        return None
    if _named_weighting(a) is not None or len(a.echoes) > 1:
        return None
    if "SE" in a.scanning and a.volumes is not None and a.volumes >= 4:
        return _found(Kind.DWI, f"2D spin echo of {a.volumes:g} volumes, TE {a.te:g} ms")
    if "SE" in a.scanning and a.pixel is not None and a.pixel >= 1.7:
        return _found(Kind.DWI, f"2D spin echo with large pixels ({a.pixel:g} mm), TE {a.te:g} ms")
    if a.b_values and not (a.te >= 70 and a.pixel is not None and a.pixel < 0.9):
        return _found(Kind.DWI, f"a diffusion weighting is given (0), 2D spin echo, TE {a.te:g} ms")
    return None


def _by_gradient_echo(a: Acquisition) -> Answer:
    if not a.gradient_echo or a.te is None:
        return None
    if _functional_timing(a):
        return _found(Kind.BOLD, f"gradient echo, large pixels, {a.timing()}")
    if a.te >= 12 or (len(a.echoes) >= 3 and a.echoes[-1] >= 15):
        return _susceptibility(a)
    if _named_weighting(a) in (Kind.SSFP, Kind.T2STAR):
        return None
    if "SS" in a.variant and "SP" not in a.variant and "MP" not in a.variant and _balanced_timing(a):
        return _found(Kind.SSFP, f"steady state without spoiling ({a.timing()})")
    return _spoiled(a)


def _functional_timing(a: Acquisition) -> bool:
    """Philips writes functional series as plain gradient echoes."""
    if a.three_d or a.te is None or a.tr is None or a.pixel is None or not a.dynamic:
        return False
    return 20 <= a.te <= 50 and a.tr >= 500 and a.pixel >= 1.5 and (a.flip or 90) >= 40


def _susceptibility(a: Acquisition) -> Answer:
    if _named_weighting(a) is Kind.T1 and a.te is not None and a.te < 15:
        return _found(Kind.T1, f"gradient echo, {a.timing()}, by its name")
    if a.three_d and a.tr is not None and a.tr < 80 and len(a.echoes) <= 1 and a.te is not None and a.te >= 15:
        named = _named_weighting(a)
        return _found(
            Kind.T2STAR if named is Kind.T2STAR else Kind.SWI, f"3D gradient echo with a late echo ({a.timing()})"
        )
    return _found(Kind.T2STAR, f"gradient echo with a late echo ({a.timing()})")


def _balanced_timing(a: Acquisition) -> bool:
    return a.tr is not None and a.tr < 15 and a.te is not None and 0.35 < a.te / a.tr < 0.65 and (a.flip or 0) >= 25


def _tof_timing(a: Acquisition) -> bool:
    return a.tr is not None and 14 <= a.tr <= 50 and (a.te is None or a.te <= 8)


def _spoiled(a: Acquisition) -> Answer:
    """Short echo: T1 when the flip angle is large for the repetition time (Ernst), else proton density."""
    fine = a.pixel is not None and a.pixel <= 0.75
    if a.three_d and fine and _tof_timing(a) and ({"FC", "MT", "VASCTOF_GEMS"} & a.options or "MTC" in a.variant):
        return _found(Kind.TOF, f"3D gradient echo with flow compensation ({a.timing()})")
    if "MP" in a.variant:
        return _found(Kind.T1, f"prepared gradient echo with a short echo ({a.timing()})")
    if a.flip is None or a.ernst_degrees is None or (a.tr is not None and a.tr < 20 and not a.thin):
        return None  # 2D with such a TR is a scout, a cine or a bolus chase, whatever the flip angle
    if a.flip >= 0.85 * a.ernst_degrees and a.tr is not None and a.tr <= 600:
        return _found(Kind.T1, f"gradient echo, flip angle large for its TR ({a.timing()})")
    if a.flip <= 0.5 * a.ernst_degrees and a.three_d:
        return _found(Kind.PD, f"gradient echo, flip angle small for its TR ({a.timing()})")
    return None


def _by_spin_echo(a: Acquisition) -> Answer:
    """Short TR and TE: T1; long TR and short TE: proton density; long TE: T2. What lies between is left to the name."""
    if a.gradient_echo or not a.spin_echo or a.te is None or a.tr is None:
        return None
    if len({_spin_echo_kind(a.tr, echo) for echo in a.echoes} - {None}) > 1:
        return _found(None, f"several weightings in one series (TE {', '.join(f'{echo:g}' for echo in a.echoes)} ms)")
    kind = _spin_echo_kind(a.tr, a.te)
    return _found(kind, f"spin echo, TR {a.tr:g} ms, TE {a.te:g} ms") if kind else None


def _spin_echo_kind(tr: float, te: float) -> Kind | None:
    if tr <= 1200 and te <= 30:
        return Kind.T1
    if tr >= 1800 and te < 50:
        return Kind.PD
    if tr >= 600 and te >= 60:
        return Kind.T2
    return None


def _by_weighting_name(a: Acquisition) -> Answer:
    if a.declared in _DECLARED:
        return _found(_DECLARED[a.declared], f"AcquisitionContrast says {a.declared}")
    named = _named_weighting(a)
    if named is None:
        return None
    if named is Kind.T2 and a.gradient_echo and a.te is not None:
        named = Kind.T2STAR
    return _found(named, f"by its name; the timing ({a.timing() or 'none given'}) does not tell")


def _named_weighting(a: Acquisition) -> Kind | None:
    return _weighting_in(a.name) or _weighting_in(a.protocol)


@lru_cache(maxsize=8192)
def _weighting_in(name: str) -> Kind | None:
    return next((Kind(value) for value, pattern in WEIGHTINGS if pattern.search(name)), None)


_STEPS: Sequence[Callable[[Acquisition], Answer]] = (
    _by_computed,
    _by_declared,
    _by_pulse,
    _by_b_value,
    _by_name,
    _by_phase,
    _by_inversion,
    _by_echo_planar,
    _by_hidden_diffusion,
    _by_gradient_echo,
    _by_spin_echo,
    _by_weighting_name,
)


def sequence(
    tags: Mapping[str, Any], instance_tags: Sequence[Mapping[str, Any]], images: int, *, localizer: bool | None
) -> Derived[Kind]:
    """The kind of sequence of a series; None for what is not MR, not an image of a patient, or not knowable."""
    if tags.get("Modality") != "MR":
        return Derived(None, "not MR")
    if str(tags.get("SOPClassUID", "")).startswith("1.2.840.10008.5.1.4.1.1.7"):
        return Derived(None, "a secondary capture")
    if localizer:
        return Derived(Kind.LOCALIZER, "a localizer")
    return classify(Acquisition.read(tags, instance_tags, images))
