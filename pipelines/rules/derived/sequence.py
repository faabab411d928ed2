"""What kind of MR sequence a series is: from the physics first, from what people called it where physics cannot tell.

The same contrast has a dozen names at five vendors, and descriptions are typed by people, copied from another protocol,
or blanked; TR, TE, TI and flip angle are what the scanner did. So names decide only what the timing cannot show
(diffusion against plain echo planar, angiography, perfusion, maps) and what lies between two weightings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.rules.derived.acquisition import Acquisition
from pipelines.rules.derived.kinds import SequenceKind
from pipelines.rules.derived.value import Derived
from pipelines.rules.derived.weighting import (
    MaybeKind,
    by_echo_planar,
    by_gradient_echo,
    by_hidden_diffusion,
    by_inversion,
    by_spin_echo,
    found,
    named_weighting,
    tof_timing,
)
from pipelines.rules.derived.wording import SEQUENCE_NAMES

_MAPS = {
    "ADC": SequenceKind.ADC,
    "FA": SequenceKind.DIFFUSION_MAP,
    "TENSOR": SequenceKind.DIFFUSION_MAP,
    "EADC": SequenceKind.DIFFUSION_MAP,
    "EXP": SequenceKind.DIFFUSION_MAP,
    "TRACEW": SequenceKind.DWI,
    "TRACE": SequenceKind.DWI,
    "CALC_BVALUE": SequenceKind.DWI,
    "DIFFUSION": SequenceKind.DWI,
    "PERFUSION": SequenceKind.PERFUSION,
    "ASL": SequenceKind.PERFUSION,
    "TTP": SequenceKind.PERFUSION,
    "MTT": SequenceKind.PERFUSION,
    "RELCBF": SequenceKind.PERFUSION,
    "RELCBV": SequenceKind.PERFUSION,
    "RCBF": SequenceKind.PERFUSION,
    "RCBV": SequenceKind.PERFUSION,
    "CBF": SequenceKind.PERFUSION,
    "CBV": SequenceKind.PERFUSION,
    "PBP": SequenceKind.PERFUSION,
    "GBP": SequenceKind.PERFUSION,
    "SWI": SequenceKind.SWI,
    "MNIP": SequenceKind.SWI,
    "FMRI": SequenceKind.BOLD,
    "VELOCITY": SequenceKind.ANGIO,
    "MAP": SequenceKind.MAP,
}
"""Values of ImageType that name what was computed."""

_PULSES: tuple[tuple[str, SequenceKind], ...] = (
    (r"(?:ep|re)_b\d|ep2d_diff|epi_d[tw]i|.*dwi|.*dti", SequenceKind.DWI),
    (r"fm2d|fmap", SequenceKind.FIELDMAP),
    (r"tgse|tgir3d|.*asl", SequenceKind.PERFUSION),
    (r"svs|csi|fid_|fid$", SequenceKind.SPECTROSCOPY),
    (r"me2d|me3d", SequenceKind.T2STAR),
    (r"tfi\d|ci3d|de3d", SequenceKind.SSFP),
    (r"fsbb|.*swi", SequenceKind.SWI),
    (r"fi3d|tof|.*tof", SequenceKind.TOF),
)
"""Pulse sequences that make one kind of image only; Siemens' names first, they stand in SequenceName."""

_DECLARED = {
    "DIFFUSION": SequenceKind.DWI,
    "PERFUSION": SequenceKind.PERFUSION,
    "FLUID_ATTENUATED": SequenceKind.FLAIR,
    "STIR": SequenceKind.STIR,
    "TOF": SequenceKind.TOF,
    "FLOW_ENCODED": SequenceKind.ANGIO,
    "PROTON_DENSITY": SequenceKind.PD,
    "T1": SequenceKind.T1,
    "T2": SequenceKind.T2,
    "T2_STAR": SequenceKind.T2STAR,
}
"""AcquisitionContrast of enhanced objects (PS3.3 C.8.13.3.1)."""
_DECLARED_SPECIAL = frozenset({"DIFFUSION", "PERFUSION", "TOF", "FLOW_ENCODED"})


def classify(a: Acquisition) -> Derived[SequenceKind]:
    """The kind of sequence of an MR series that is no localizer; value None where the header does not tell."""
    for step in _STEPS:
        found = step(a)
        if found is not None:
            return found
    return Derived(None, f"neither the timing ({a.timing() or 'none given'}) nor the names tell")


def _by_computed(a: Acquisition) -> MaybeKind:
    """Maps and recalculated images, which carry the timing of what they were computed from."""
    for part in a.image_type[2:]:
        words = re.split(r"[ _]+", part)
        kind = _MAPS.get(part) or _MAPS.get(words[0]) or _MAPS.get(words[-1])
        if kind is SequenceKind.DWI and ("ADC" in a.image_type or "FA" in a.image_type):
            continue
        if kind is not None:
            return found(kind, f"ImageType says {part}")
    return None


def _by_declared(a: Acquisition) -> MaybeKind:
    kind = _DECLARED.get(a.declared)
    if kind is not None and a.declared in _DECLARED_SPECIAL:
        return found(kind, f"AcquisitionContrast says {a.declared}")
    return None


def _by_pulse(a: Acquisition) -> MaybeKind:
    for pattern, kind in _PULSES if a.pulse else ():
        if re.match(pattern, a.pulse) and (kind is not SequenceKind.TOF or tof_timing(a)):
            return found(kind, f"pulse sequence {a.pulse}")
    return None


def _by_b_value(a: Acquisition) -> MaybeKind:
    if len(a.b_values) > 1 or (a.b_values and a.b_values[0] > 0):
        return found(SequenceKind.DWI, f"DiffusionBValue {a.b_values[-1]:g}")
    return None


def _by_name(a: Acquisition) -> MaybeKind:
    """Kinds that timing cannot show, from the description; from the protocol name when the description is empty."""
    for where, name in (("description", a.name), ("protocol name", a.protocol)):
        for value, pattern in SEQUENCE_NAMES:
            match = pattern.search(name)
            kind = SequenceKind(value)
            if match and _plausible(kind, a):
                return found(kind, f"{where} says {match[0].strip()!r}")
        if name:
            break
    return None


def _plausible(kind: SequenceKind, a: Acquisition) -> bool:
    """Whether the timing allows what the name says: protocols are copied, and descriptions stay behind."""
    match kind:
        case SequenceKind.DWI:
            return not (a.gradient_echo and not a.planar) and not (a.inversion and (a.ti or 0) > 1000 and not a.planar)
        case SequenceKind.BOLD:
            return a.gradient_echo or a.planar
        case SequenceKind.SWI | SequenceKind.TOF | SequenceKind.ANGIO:
            return not (a.spin_echo and a.tr is not None)
        case SequenceKind.DIR:
            return not a.gradient_echo
        case _:
            return True


def _by_phase(a: Acquisition) -> MaybeKind:
    """Phase images and subtractions carry the timing of a weighting that they do not show."""
    parts = set(a.image_type[2:])
    if parts & {"P", "PHASE", "PHASE MAP"} and not a.planar:
        return found(None, "a phase image")
    if parts & {"SUB", "SUBTRACTION"} or re.search(r"\bsub(?:traction|tracted)?\b", a.name):
        return found(None, "a subtraction")
    return None


def _by_weighting_name(a: Acquisition) -> MaybeKind:
    if a.declared in _DECLARED:
        return found(_DECLARED[a.declared], f"AcquisitionContrast says {a.declared}")
    named = named_weighting(a)
    if named is None:
        return None
    if named is SequenceKind.T2 and a.gradient_echo and a.te is not None:
        named = SequenceKind.T2STAR
    return found(named, f"by its name; the timing ({a.timing() or 'none given'}) does not tell")


_STEPS: Sequence[Callable[[Acquisition], MaybeKind]] = (
    _by_computed,
    _by_declared,
    _by_pulse,
    _by_b_value,
    _by_name,
    _by_phase,
    by_inversion,
    by_echo_planar,
    by_hidden_diffusion,
    by_gradient_echo,
    by_spin_echo,
    _by_weighting_name,
)


def sequence(
    tags: Mapping[str, Any], instance_tags: Sequence[Mapping[str, Any]], images: int, *, localizer: bool | None
) -> Derived[SequenceKind]:
    """The kind of sequence of a series; None for what is not MR, not an image of a patient, or not knowable."""
    if tags.get("Modality") != "MR":
        return Derived(None, "not MR")
    if str(tags.get("SOPClassUID", "")).startswith("1.2.840.10008.5.1.4.1.1.7"):
        return Derived(None, "a secondary capture")
    if tags.get("SOPClassUID") == "1.2.840.10008.5.1.4.1.1.4.2":
        return Derived(SequenceKind.SPECTROSCOPY, "MR Spectroscopy Storage")
    if localizer:
        return Derived(SequenceKind.LOCALIZER, "a localizer")
    return classify(Acquisition.read(tags, instance_tags, images))
