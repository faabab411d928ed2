"""The values of `sequence` and of `phase`."""

from __future__ import annotations

from enum import StrEnum


class SequenceKind(StrEnum):
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


class Phase(StrEnum):
    """When after the contrast agent was injected a series was acquired; `native` is before."""

    NATIVE = "native"
    ARTERIAL = "arterial"
    PORTAL = "portal"
    DELAYED = "delayed"
