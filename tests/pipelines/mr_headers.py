"""Headers of MR series as vendors write them, each with what it is. Made by hand from the vendors' conventions.

The first word of a name is the vendor. They are written from how these sequences are set up in practice, not from what
our code makes of them: where the code is wrong, the code changes.
"""

from __future__ import annotations

from typing import Any

Case = tuple[str, str | None, dict[str, Any], int]
CASES: list[Case] = []

SIEMENS = {"Manufacturer": "SIEMENS", "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]}
XA = {"Manufacturer": "Siemens Healthineers", "ImageType": ["ORIGINAL", "PRIMARY", "M", "NONE"]}
GE = {"Manufacturer": "GE MEDICAL SYSTEMS", "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]}
PHILIPS = {"Manufacturer": "Philips Medical Systems", "ImageType": ["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"]}
FFE = {"Manufacturer": "Philips Medical Systems", "ImageType": ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]}
PHILIPS_IR = {"Manufacturer": "Philips Medical Systems", "ImageType": ["ORIGINAL", "PRIMARY", "M_IR", "M", "IR"]}
CANON = {"Manufacturer": "CANON_MEC", "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]}
TOSHIBA = {"Manufacturer": "TOSHIBA_MEC", "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]}
UIH = {"Manufacturer": "UIH", "ImageType": ["ORIGINAL", "PRIMARY", "M", "UCA"]}
HITACHI = {"Manufacturer": "Hitachi Medical Corporation", "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]}


def case(name: str, expected: str | None, vendor: dict[str, Any], images: int = 24, **tags: Any) -> None:
    """One header; timing as `t=(TR, TE)` or `t=(TR, TE, TI)`, flip angle `fa`, ScanningSequence `s`, variant `v`."""
    timing = tags.pop("t", ())
    short = {"fa": "FlipAngle", "s": "ScanningSequence", "v": "SequenceVariant", "q": "SequenceName"}
    short |= {"d": "SeriesDescription", "o": "ScanOptions", "dim": "MRAcquisitionType", "etl": "EchoTrainLength"}
    header = {"Modality": "MR", **vendor, **{short.get(key, key): value for key, value in tags.items()}}
    header |= dict(zip(("RepetitionTime", "EchoTime", "InversionTime"), map(str, timing), strict=False))
    CASES.append((name, expected, header, images))


# fmt: off: a table, one or two lines per header

# Siemens, syngo MR: the sequence name tells the pulse sequence, ProtocolName repeats the description.
case(
    "siemens mprage",
    "t1",
    SIEMENS,
    192,
    q="*tfl3d1_16ns",
    s=["GR", "IR"],
    v=["SK", "SP", "MP"],
    o="IR",
    dim="3D",
    t=(2300, 2.98, 900),
    fa="9",
    d="t1_mprage_sag_p2_iso",
)
case(
    "siemens mprage post",
    "t1",
    SIEMENS,
    192,
    q="*tfl3d1_16ns",
    s=["GR", "IR"],
    v=["SK", "SP", "MP"],
    o="IR",
    dim="3D",
    t=(1900, 2.5, 900),
    fa="9",
    d="t1_mprage_tra_p2_iso_KM",
)
case(
    "siemens mp2rage uni",
    "t1",
    SIEMENS,
    176,
    q="*tfl3d1_16ns",
    s=["GR", "IR"],
    v=["SK", "SP", "MP"],
    dim="3D",
    t=(5000, 2.98, 700),
    fa="4",
    d="t1_mp2rage_sag_UNI_Images",
)
case(
    "siemens pd tfl",
    "pd",
    SIEMENS,
    256,
    q="*tfl3d1_ns",
    s="GR",
    v="SP",
    dim="3D",
    t=(1440, 2.52),
    fa="5",
    d="pd_mprage_iso0.6",
)
case("siemens t1 se", "t1", SIEMENS, q="*se2d1", s="SE", v="SP", o="SAT1", dim="2D", t=(500, 8.4), fa="90")
case(
    "siemens t1 tse spine",
    "t1",
    SIEMENS,
    15,
    q="*tse2d1_3",
    s="SE",
    v=["SK", "SP", "OSP"],
    dim="2D",
    t=(812, 9.5),
    fa="150",
    d="t1_tse_sag",
)
case(
    "siemens t1 space",
    "t1",
    SIEMENS,
    176,
    q="*spc3d1_42ns",
    s="SE",
    v=["SK", "SP"],
    dim="3D",
    t=(600, 7.2),
    fa="120",
    d="t1_space_sag_p2_iso",
)
case("siemens t1 fl2d", "t1", SIEMENS, q="*fl2d1", s="GR", v="SP", dim="2D", t=(250, 2.46), fa="70", d="t1_fl2d_tra")
case(
    "siemens vibe",
    "t1",
    SIEMENS,
    72,
    q="*fl3d1",
    s="GR",
    v="SP",
    o="FS",
    dim="3D",
    t=(4.4, 2.1),
    fa="10",
    d="t1_vibe_fs_tra_bh",
)
case(
    "siemens vibe dixon water",
    "t1",
    SIEMENS | {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]},
    72,
    q="*fl3d2",
    s="GR",
    v=["SK", "SP"],
    dim="3D",
    t=(6.7, 2.39),
    fa="9",
    d="t1_vibe_dixon_tra_W",
)
case("siemens t2 tse", "t2", SIEMENS, q="*tse2d1_15", s="SE", v=["SK", "SP", "OSP"], dim="2D", t=(5600, 93), fa="150")
case(
    "siemens t2 blade",
    "t2",
    SIEMENS,
    q="*tseBR2d1_25",
    s="SE",
    v=["SK", "SP"],
    dim="2D",
    t=(4000, 117),
    fa="140",
    d="t2_blade_tra",
)
case(
    "siemens haste",
    "t2",
    SIEMENS,
    q="*h2d1_192",
    s="SE",
    v=["SK", "SP", "OSP"],
    dim="2D",
    t=(1000, 91),
    fa="160",
    d="t2_haste_cor",
)
case("siemens t2 space", "t2", SIEMENS, 176, q="*spc_314ns", s="SE", v=["SK", "SP"], dim="3D", t=(3200, 564), fa="120")
case(
    "siemens space cisternography",
    "t2",
    SIEMENS,
    64,
    q="*spcR3d1rr67",
    s="SE",
    v=["SK", "SP"],
    dim="3D",
    t=(1000, 131),
    fa="120",
)
case(
    "siemens pd tse fs",
    "pd",
    SIEMENS,
    q="*tse2d1_7",
    s="SE",
    v=["SK", "SP", "OSP"],
    o="FS",
    dim="2D",
    t=(3200, 33),
    fa="150",
    d="pd_tse_fs_cor",
)
case(
    "siemens flair 2d",
    "flair",
    SIEMENS,
    q="*tir2d1_16",
    s=["SE", "IR"],
    v=["SK", "SP", "MP"],
    o="IR",
    dim="2D",
    t=(9000, 81, 2500),
    fa="150",
    d="t2_tirm_tra_dark-fluid",
)
case(
    "siemens flair fs",
    "flair",
    SIEMENS,
    q="*tir2d1_19",
    s=["SE", "IR"],
    v=["SK", "SP", "MP"],
    o=["IR", "FS"],
    dim="2D",
    t=(8000, 119, 2370),
    fa="150",
    d="t2_flair_fs_tra",
)
case(
    "siemens flair space",
    "flair",
    SIEMENS,
    176,
    q="*spcir_278ns",
    s=["SE", "IR"],
    v=["SK", "SP", "MP"],
    dim="3D",
    t=(5000, 388, 1800),
    fa="120",
    d="t2_spc_da-fl_sag_p2_iso",
)
case(
    "siemens flair space odd ti",
    "flair",
    SIEMENS,
    176,
    q="*spcir3d1_298ns",
    s=["SE", "IR"],
    v=["SK", "SP", "MP"],
    dim="3D",
    t=(4000, 466, 2500),
    fa="120",
    d="Sag 3D SPACE (spc_ir_ns_sag_p2_iso)",
)
case(
    "siemens flair without ti",
    "flair",
    SIEMENS,
    q="*tir2d1_16",
    s=["SE", "IR"],
    v=["SK", "SP", "MP"],
    dim="2D",
    t=(9000, 94),
    fa="150",
)
case(
    "siemens t1 dark fluid",
    "t1",
    SIEMENS,
    q="*tir2d1_7",
    s=["SE", "IR"],
    v=["SK", "SP", "MP"],
    dim="2D",
    t=(2000, 8.6, 860),
    fa="150",
    d="t1_tirm_tra_dark-fluid",
)
case(
    "siemens stir",
    "stir",
    SIEMENS,
    q="*tir2d1_11",
    s=["SE", "IR"],
    v=["SK", "SP", "MP"],
    dim="2D",
    t=(4500, 59, 160),
    fa="150",
    d="t2_tirm_cor",
)
case("siemens stir 3t", "stir", SIEMENS, q="*tir2d1_11", s=["SE", "IR"], v=["SK", "SP"], dim="2D", t=(5200, 41, 220))
case(
    "siemens dir",
    "dir",
    SIEMENS,
    176,
    q="*spcir_230ns",
    s=["SE", "IR"],
    v=["SK", "SP", "MP"],
    dim="3D",
    t=(7500, 308, 3000),
    fa="120",
    d="t2_space_dir_sag",
)
case(
    "siemens diffusion",
    "dwi",
    SIEMENS | {"ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND"]},
    60,
    q="*ep_b1000#3",
    s="EP",
    v=["SK", "SP"],
    dim="2D",
    t=(6400, 89),
    fa="90",
    d="ep2d_diff_3scan_trace",
)
case(
    "siemens trace",
    "dwi",
    SIEMENS | {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND"]},
    q="*ep_b1000t",
    s="EP",
    v=["SK", "SP"],
    dim="2D",
    t=(6400, 89),
    d="ep2d_diff_3scan_trace_p2_TRACEW",
)
case(
    "siemens adc",
    "adc",
    SIEMENS | {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND", "NORM"]},
    q="*ep_b50_1000",
    s="EP",
    v=["SK", "SP"],
    dim="2D",
    t=(6400, 89),
    d="ep2d_diff_3scan_trace_p2_ADC",
)
case(
    "siemens fa",
    "diffusion_map",
    SIEMENS | {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "FA", "ND"]},
    q="*ep_b0_1000",
    s="EP",
    t=(6400, 89),
    d="ep2d_diff_mddw_30_FA",
)
case(
    "siemens resolve",
    "dwi",
    SIEMENS,
    48,
    q="*re_b1000t",
    s="EP",
    v=["SK", "SP"],
    dim="2D",
    t=(5000, 65),
    fa="180",
    d="resolve_4scan_trace_tra",
)
case(
    "siemens bold mosaic",
    "bold",
    SIEMENS | {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]},
    200,
    q="*epfid2d1_64",
    s="EP",
    v="SK",
    o="FS",
    dim="2D",
    t=(2000, 30),
    fa="78",
)
case(
    "siemens dti mosaic unnamed",
    "dwi",
    SIEMENS | {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]},
    30,
    s="EP",
    v=["SK", "SP"],
    dim="2D",
    t=(9000, 93),
    fa="90",
)
case(
    "siemens dsc perfusion",
    "perfusion",
    SIEMENS,
    1000,
    q="*epfid2d1_128",
    s="EP",
    v="SK",
    dim="2D",
    t=(1500, 30),
    fa="90",
    d="ep2d_perf_p2",
)
case(
    "siemens pasl",
    "perfusion",
    SIEMENS | {"ImageType": ["ORIGINAL", "PRIMARY", "ASL", "NONE", "ND"]},
    90,
    q="*ep2d_fid",
    s="EP",
    t=(2500, 13),
    d="ep2d_tra_pasl_p2",
)
case(
    "siemens swi",
    "swi",
    SIEMENS | {"ImageType": ["ORIGINAL", "PRIMARY", "M", "SWI", "NORM", "DIS2D"]},
    80,
    q="*fl3d1r",
    s="GR",
    v="SP",
    o="PFP",
    dim="3D",
    t=(28, 20),
    fa="15",
    d="SWI_Images",
)
case("siemens swi magnitude unnamed", "swi", SIEMENS, 80, q="*fl3d1r", s="GR", v="SP", dim="3D", t=(49, 40), fa="15")
case(
    "siemens swi mip",
    "swi",
    SIEMENS | {"ImageType": ["DERIVED", "SECONDARY", "MNIP", "SWI"]},
    73,
    q="*fl3d1r",
    s="GR",
    t=(28, 20),
    d="mIP_Images(SW)",
)
case(
    "siemens hemo",
    "t2star",
    SIEMENS,
    q="*fl2d1",
    s="GR",
    v="SP",
    dim="2D",
    t=(620, 19.9),
    fa="20",
    d="t2_fl2d_tra_hemo",
)
case("siemens medic", "t2star", SIEMENS, q="*me2d1r3", s="GR", v="SP", dim="2D", t=(890, 14), fa="30", d="t2_me2d_tra")
case(
    "siemens tof",
    "tof",
    SIEMENS,
    160,
    q="*fi3d1r",
    s="GR",
    v="SP",
    dim="3D",
    t=(21, 3.43),
    fa="18",
    d="TOF_3D_multi-slab",
)
case(
    "siemens tof mip",
    "tof",
    SIEMENS | {"ImageType": ["DERIVED", "SECONDARY", "MIP"]},
    12,
    q="*fl3d1r_t70",
    s="GR",
    v="SP",
    t=(21, 3.43),
    fa="18",
    d="TOF_3D_multi-slab_MIP_SAG",
)
case(
    "siemens field map",
    "fieldmap",
    SIEMENS,
    64,
    q="*fm2d2r",
    s="GR",
    v="SP",
    dim="2D",
    t=(400, 4.92),
    fa="60",
    d="gre_field_mapping",
)
case(
    "siemens field map phase",
    "fieldmap",
    SIEMENS | {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
    32,
    q="*fm2d2r",
    s="GR",
    t=(400, 7.38),
    fa="60",
)
case(
    "siemens ciss",
    "ssfp",
    SIEMENS,
    72,
    q="*ci3d2",
    s="GR",
    v=["SK", "SS", "SP"],
    dim="3D",
    t=(5.5, 2.4),
    fa="50",
    d="t2_ci3d_tra",
)
case(
    "siemens trufi",
    "ssfp",
    SIEMENS,
    20,
    q="*tfi2d1_128",
    s="GR",
    v=["SK", "SS", "SP"],
    dim="2D",
    t=(4.1, 1.8),
    fa="60",
    d="trufi_cor",
)
case(
    "siemens localizer",
    "localizer",
    SIEMENS | {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]},
    3,
    q="*fl2d1",
    s="GR",
    v=["SP", "OSP"],
    dim="2D",
    t=(8.6, 4),
    fa="20",
    d="localizer",
)
case(
    "siemens aahead scout",
    "localizer",
    SIEMENS,
    128,
    q="*fl3d1_ns",
    s="GR",
    v="SP",
    dim="3D",
    t=(3.15, 1.37),
    fa="8",
    d="AAHead_Scout_64ch-head-coil",
)
case("siemens spectroscopy", "spectroscopy", SIEMENS, 1, q="*svs_se", s="SE", t=(1500, 135), d="svs_se_135")
case(
    "siemens xa flair",
    "flair",
    XA,
    176,
    q="*spcir_278ns",
    s=["SE", "IR"],
    v=["SK", "SP", "MP"],
    dim="3D",
    t=(5000, 393, 1800),
    d="t2_spc_dark-fluid_sag",
)
case(
    "siemens t1 phase image",
    None,
    SIEMENS | {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
    176,
    s=["GR"],
    v="SP",
    dim="3D",
    t=(7, 3),
    fa="12",
    d="t1_fl3d_sag",
)
case(
    "siemens subtraction",
    None,
    SIEMENS | {"ImageType": ["DERIVED", "PRIMARY", "M", "ND", "SUB"]},
    72,
    q="*fl3d1",
    s="GR",
    v="SP",
    dim="3D",
    t=(4.4, 2.1),
    fa="10",
    d="t1_vibe_dyn_SUB",
)

# GE: no sequence name, ScanningSequence often RM, ProtocolName is the examination's, InversionTime 0 when none.
case("ge t1 se", "t1", GE, s="SE", v="NONE", dim="2D", t=(500, 14, 0), fa="90", d="Ax T1")
case("ge t1 fse", "t1", GE, s="SE", v="SK", dim="2D", t=(650, 10.2, 0), fa="111", etl="3", d="Sag T1 FSE")
case("ge t1 flair", "t1", GE, s=["SE", "IR"], v="SK", dim="2D", t=(2500, 24, 1050), fa="111", d="Ax T1 FLAIR")
case("ge t1 flair 3t", "t1", GE, s="RM", v="SK", dim="2D", t=(3000, 12, 1200), fa="111", etl="8", d="Ax T1 FLAIR +C")
case("ge t1 flair unnamed", "t1", GE, s=["SE", "IR"], v="SK", dim="2D", t=(2000, 20, 700), fa="90")
case("ge t2 flair", "flair", GE, s=["SE", "IR"], v="SK", dim="2D", t=(9002, 120, 2250), fa="90", d="Ax T2 FLAIR")
case(
    "ge t2 flair propeller",
    "flair",
    GE,
    s="RM",
    v="NONE",
    o=["FAST_GEMS", "FS"],
    dim="2D",
    t=(8800, 120, 2450),
    fa="110",
    etl="24",
    d="Ax T2 FLAIR PROPELLER FS",
)
case(
    "ge cube flair",
    "flair",
    GE,
    180,
    s="RM",
    v="NONE",
    dim="3D",
    t=(6500, 133, 1870),
    fa="90",
    etl="140",
    d="Sag CUBE T2 FLAIR",
)
case("ge cube flair unnamed", "flair", GE, 180, s=["SE", "IR"], v="SK", dim="3D", t=(5000, 95, 1610), fa="90")
case("ge cube t1", "t1", GE, 180, s="SE", v="SK", dim="3D", t=(600, 13, 0), fa="90", d="Sag CUBE T1")
case("ge cube t2", "t2", GE, 180, s="RM", v="NONE", dim="3D", t=(2500, 90, 0), fa="90", etl="100", d="Sag CUBE T2")
case(
    "ge bravo",
    "t1",
    GE,
    180,
    s="GR",
    v=["SS", "SP", "SK"],
    o=["FAST_GEMS", "EDR_GEMS"],
    dim="3D",
    t=(8.2, 3.2, 450),
    fa="12",
    d="Ax 3D BRAVO",
)
case("ge fspgr", "t1", GE, 124, s="RM", v="NONE", dim="3D", t=(9.1, 3.6, 0), fa="20", d="Ax 3D T1 FSPGR +C")
case("ge fspgr unnamed", "t1", GE, 124, s="GR", v=["SS", "SP"], dim="3D", t=(6.9, 2.0, 0), fa="12")
case(
    "ge lava",
    "t1",
    GE,
    88,
    s="GR",
    v=["SS", "SP"],
    o=["FAST_GEMS", "FS"],
    dim="3D",
    t=(4.1, 1.9),
    fa="12",
    d="Ax LAVA art",
)
case("ge t2 frfse", "t2", GE, s="SE", v="SK", dim="2D", t=(5500, 102, 0), fa="142", etl="19", d="Ax T2 FRFSE")
case("ge ssfse", "t2", GE, s="SE", v=["SK", "OSP"], dim="2D", t=(1150, 91, 0), fa="90", d="Cor SSFSE")
case("ge pd fs", "pd", GE, s="SE", v=["SK", "OSP"], dim="2D", t=(2800, 27.5, 0), fa="90", etl="10")
case("ge stir", "stir", GE, s=["SE", "IR"], v="SK", dim="2D", t=(4300, 42, 150), fa="111", etl="8", d="Cor STIR")
case("ge dwi", "dwi", GE, 48, s=["EP", "SE"], v="NONE", o="EPI_GEMS", dim="2D", t=(8000, 82), fa="90", d="Ax DWI")
case("ge dwi unnamed rm", "dwi", GE, 48, s=["EP", "RM"], v="NONE", dim="2D", t=(8000, 68), fa="90")
case(
    "ge adc",
    "adc",
    GE | {"ImageType": ["DERIVED", "SECONDARY", "COMBINED"]},
    s=["EP", "SE"],
    t=(8000, 82),
    d="Apparent Diffusion Coefficient (mm2/s)",
)
case(
    "ge exponential adc",
    "diffusion_map",
    GE | {"ImageType": ["DERIVED", "SECONDARY", "COMBINED"]},
    s=["EP", "SE"],
    t=(8000, 82),
    d="Exponential Apparent Diffusion Coefficient",
)
case("ge swan", "swi", GE, 120, s="RM", v="NONE", dim="3D", t=(40.6, 24.3), fa="15", d="Ax SWAN")
case("ge t2star", "t2star", GE, s="GR", v="NONE", dim="2D", t=(617, 20), fa="20", d="Ax T2* GRE")
case("ge merge", "t2star", GE, s="GR", v="SS", dim="2D", t=(650, 13), fa="20", d="Ax MERGE")
case(
    "ge tof", "tof", GE, 160, s="GR", v=["SS", "SP"], o=["VASCTOF_GEMS"], dim="3D", t=(23, 2.7), fa="20", d="3D TOF COW"
)
case(
    "ge tof unnamed",
    "tof",
    GE,
    160,
    s="GR",
    v=["SS", "SP"],
    o=["FC", "VASCTOF_GEMS"],
    dim="3D",
    t=(23, 2.7),
    fa="20",
    PixelSpacing=["0.4", "0.4"],
)
case(
    "ge asl",
    "perfusion",
    GE | {"ImageType": ["ORIGINAL", "PRIMARY", "ASL"]},
    72,
    s="RM",
    v="NONE",
    dim="3D",
    t=(4632, 10.5),
    fa="111",
    d="3D ASL (non contrast)",
)
case(
    "ge cbf",
    "perfusion",
    GE | {"ImageType": ["DERIVED", "PRIMARY", "CBF", "CBF"]},
    36,
    s="RM",
    t=(4632, 10.5),
    d="CBF (Color) (Transit corrected)",
)
case(
    "ge fmri",
    "bold",
    GE | {"ImageType": ["ORIGINAL", "PRIMARY", "EPI", "NONE"]},
    4000,
    s=["EP", "GR"],
    v="SS",
    o=["EPI_GEMS"],
    dim="2D",
    t=(2000, 30),
    fa="77",
)
case("ge fiesta-c", "ssfp", GE, 100, s="GR", v="SS", dim="3D", t=(5.9, 2.2), fa="60", d="Ax FIESTA-C")
case("ge 3 plane loc", "localizer", GE, 21, s="SE", v="SK", dim="2D", t=(1200, 80), d="3 Plane Loc SSFSE")
case("ge scout without a name", None, GE, 27, s="RM", v="OSP", dim="2D", t=(4.7, 1.2, 0), fa="30", SliceThickness="8")
case(
    "ge t2 with flair in protocol",
    "t2",
    GE,
    s="SE",
    v="SK",
    dim="2D",
    t=(5500, 102, 0),
    fa="142",
    d="Ax",
    ProtocolName="BRAIN T1 FLAIR DWI ADC",
)

# Philips: FFE for gradient echo, SE even for echo planar imaging; "WIP", "SENSE" around the name.
case("philips t1 se", "t1", PHILIPS, s="SE", v="SK", dim="2D", t=(450, 12), fa="69", d="T1W_SE")
case("philips t1 tse", "t1", PHILIPS, s="SE", v="SK", dim="2D", t=(600, 8), fa="90", etl="4", d="T1W_TSE")
case("philips t1 ir tse", "t1", PHILIPS_IR, s="IR", v="SK", dim="2D", t=(3200, 20, 400), fa="90", d="T1W_IR_TSE")
case("philips t1 tfe", "t1", FFE, 180, s="GR", v="MP", dim="3D", t=(8.1, 3.7), fa="8", d="sT1W_3D_TFE")
case("philips t1 tfe unnamed", "t1", FFE, 180, s="GR", v="MP", dim="3D", t=(7.0, 3.2), fa="8")
case(
    "philips t1 ffe",
    "t1",
    FFE,
    s="GR",
    v="SP",
    dim="3D",
    t=(25, 4.6),
    fa="30",
    d="T1/3D/FFE/C SENSE",
    PixelSpacing=["0.9", "0.9"],
)
case("philips thrive", "t1", FFE, 90, s="GR", v="SP", dim="3D", t=(3.9, 1.8), fa="10", d="e-THRIVE art")
case(
    "philips mdixon",
    "t1",
    FFE | {"ImageType": ["ORIGINAL", "PRIMARY", "W", "W", "DERIVED"]},
    90,
    s="GR",
    v="SP",
    dim="3D",
    t=(5.6, 1.97),
    fa="10",
    d="mDIXON-W",
)
case("philips t1 vista", "t1", PHILIPS, 160, s="SE", v="SK", dim="3D", t=(350, 16), fa="90", d="T1W_VISTA")
case("philips t2 tse", "t2", PHILIPS, s="SE", v="SK", dim="2D", t=(3000, 80), fa="90", etl="15", d="T2W_TSE")
case(
    "philips t2 tse with b",
    "t2",
    PHILIPS,
    s="SE",
    v="SK",
    dim="2D",
    t=(3000, 100),
    fa="90",
    DiffusionBValue="0.0",
    PixelSpacing=["0.45", "0.45"],
)
case("philips t2 drive", "t2", PHILIPS, 60, s="SE", v="SK", dim="3D", t=(1500, 250), fa="90", d="T2W_DRIVE_CLEAR")
case("philips pd spair", "pd", PHILIPS, s="SE", v="SK", o="FS", dim="2D", t=(2600, 30), fa="90", d="PDW_SPAIR")
case("philips flair", "flair", PHILIPS_IR, s="IR", v="SK", dim="2D", t=(11000, 125, 2800), fa="90", d="FLAIR longTR")
case(
    "philips flair spir",
    "flair",
    PHILIPS_IR,
    s="IR",
    v="SK",
    o="FS",
    dim="2D",
    t=(11000, 140, 2800),
    fa="90",
    d="FLAIR SPIR",
)
case(
    "philips flair vista",
    "flair",
    PHILIPS_IR,
    326,
    s="IR",
    v="SK",
    dim="3D",
    t=(4800, 290, 1650),
    fa="90",
    d="sFLAIR_3D_VISTA",
)
case("philips flair without ti", "flair", PHILIPS_IR, s="IR", v="SK", dim="2D", t=(6000, 120), d="T2W_FLAIR")
case("philips stir", "stir", PHILIPS_IR, s="IR", v="SK", dim="2D", t=(3500, 60, 165), fa="90", d="STIR_longTE")
case("philips dir", "dir", PHILIPS_IR, 300, s="IR", v="SK", dim="3D", t=(5500, 252, 2550), fa="90", d="DIR_brain")
case("philips dwi", "dwi", PHILIPS, 66, s="SE", v="SK", dim="2D", t=(3000, 89), fa="90", d="DWI_ssh")
case("philips dwi unnamed", "dwi", PHILIPS, 66, s="SE", v="SK", dim="2D", t=(3200, 89), DiffusionBValue="1000")
case("philips dti unnamed", "dwi", PHILIPS, 1980, s="SE", v="SK", dim="2D", t=(9000, 61), PixelSpacing=["2", "2"])
case(
    "philips adc",
    "adc",
    PHILIPS | {"ImageType": ["DERIVED", "PRIMARY", "ADC_UNSPECIFIED", "ADC", "UNSPECIFIED"]},
    22,
    s="SE",
    t=(3000, 89),
    d="dADC",
)
case("philips fmri", "bold", FFE, 4800, s="GR", v="SS", dim="2D", t=(2000, 30), fa="77", PixelSpacing=["3", "3"])
case("philips fmri named", "bold", FFE, 6000, s="GR", v="SK", dim="2D", t=(2500, 35), fa="90", d="fMRI_rest")
case(
    "philips ffe epi",
    "t2star",
    FFE,
    22,
    s="GR",
    v="OSP",
    dim="2D",
    t=(1200, 40),
    fa="40",
    d="T2W/FE-EPI",
    PixelSpacing=["0.9", "0.9"],
)
case("philips t2 ffe", "t2star", FFE, s="GR", v="SP", dim="2D", t=(690, 16), fa="18", d="T2W_FFE")
case("philips swip", "swi", FFE, 130, s="GR", v="SP", dim="3D", t=(31, 7.2), fa="17", d="SWIp")
case("philips venobold", "swi", FFE, 130, s="GR", v="SP", dim="3D", t=(17, 25), fa="10", d="VenBOLD_HR")
case("philips tof", "tof", FFE, 160, s="GR", v="SP", dim="3D", t=(23, 3.5), fa="18", d="s3DI_MC_HR TOF")
case("philips pca", "angio", FFE, 60, s="GR", v="SP", dim="3D", t=(15, 5.5), fa="15", d="PCA_3D veins")
case("philips bffe", "ssfp", FFE, 60, s="GR", v="SS", dim="2D", t=(3.4, 1.7), fa="60", d="BFFE")
case(
    "philips t2 map",
    "map",
    PHILIPS | {"ImageType": ["ORIGINAL", "PRIMARY", "T2 MAP", "T2", "UNSPECIFIED"]},
    20,
    s="RM",
    t=(6384,),
    d="T2_map_5_echoes",
)
case("philips survey", "localizer", FFE, 27, s="GR", v="SP", dim="2D", t=(11, 4.6), fa="15", d="Survey_32ch_HeadCoil")
case("philips smartbrain", "localizer", FFE, 25, s="GR", v="SP", dim="3D", t=(5.5, 2.1), d="SmartBrain")

# Canon (Toshiba), United Imaging, Hitachi
case("canon flair", "flair", CANON, q="FSE2D", s=["SE", "IR"], v="SK", dim="2D", t=(10000, 105, 2700), d="Ax FLAIR")
case("canon t1", "t1", CANON, q="SE2D", s="SE", v="NONE", dim="2D", t=(480, 12), fa="90")
case("canon fase t2", "t2", CANON, q="FASE2D", s="SE", v="SK", dim="2D", t=(6500, 80), d="FASE MRCP")
case("canon quick3d", "t1", CANON, 60, q="FFE3D", s="GR", v="SP", dim="3D", t=(4.5, 1.8), fa="12", d="Quick3D")
case("canon dwi", "dwi", TOSHIBA, 60, q="SEEPI2D", s=["SE", "EP"], v="NONE", dim="2D", t=(5600, 100))
case("canon tof", "tof", CANON, 140, q="FE3D_fc", s="GR", v="SP", dim="3D", t=(21, 6.8), fa="20", d="3D TOF MRA")
case("canon fsbb", "swi", CANON, 120, q="FE3D", s="GR", v="SP", dim="3D", t=(29, 20), fa="15", d="FSBB")
case("uih t2", "t2", UIH, q="fse", s="SE", v="NONE", dim="2D", t=(4500, 98), fa="90", d="t2_fse_tra")
case(
    "uih flair", "flair", UIH, q="fse_ir", s=["SE", "IR"], v="NONE", dim="2D", t=(8000, 97, 2370), d="t2_fse_flair_tra"
)
case("uih flair mx", "flair", UIH, 176, q="fse_mx_3d", s=["SE", "IR"], v="NONE", dim="3D", t=(6000, 398, 1970))
case("uih t1 gre", "t1", UIH, 160, q="gre_fsp", s=["GR", "IR"], v="NONE", dim="3D", t=(7.3, 3.1, 750), fa="10")
case("uih swi", "swi", UIH, 80, q="gre_swi", s="GR", v="SP", dim="3D", t=(32, 20), fa="15", d="swi3d_tra")
case(
    "uih bold", "bold", UIH, 240, q="epi_bold", s=["GR", "EP"], v="NONE", dim="2D", t=(2000, 30), fa="90", d="ep2d_bold"
)
case("hitachi t1", "t1", HITACHI, s="SE", v="NONE", dim="2D", t=(420, 20), fa="90", MagneticFieldStrength="0.3")
case("hitachi t2", "t2", HITACHI, s="SE", v="SK", dim="2D", t=(4200, 120), fa="90", MagneticFieldStrength="0.3")
case("hitachi flair", "flair", HITACHI, s="IR", v="SK", dim="2D", t=(8000, 120, 1800), MagneticFieldStrength="0.3")
case("hitachi stir", "stir", HITACHI, s="IR", v="NONE", dim="2D", t=(1500, 25, 100), MagneticFieldStrength="0.3")
case("hitachi geir", "t1", HITACHI, 176, s=["GR", "IR"], v="NONE", dim="3D", t=(9.2, 4.0, 1000), fa="8")
case("hyperfine t1", "t1", {"Manufacturer": "Hyperfine"}, 36, s=["SE", "IR"], dim="3D", t=(1500, 6, 300))
case("hyperfine flair", "flair", {"Manufacturer": "Hyperfine"}, 36, s=["SE", "IR"], dim="3D", t=(4000, 178, 1400))

# Names or timing alone, or at odds with each other
case("only a name: flair", "flair", {}, d="AX FLAIR")
case("only a name: t1", "t1", {}, d="AX T1 POST GD")
case("only a name: t1 flair", "t1", {}, d="Ax T1 FLAIR")
case("only a name: t2 star", "t2star", {}, d="AX T2* GRE")
case("only a name: dti", "dwi", {}, d="DTI 32dir")
case("only a name: nothing said", None, {}, d="AXIAL")
case("nothing at all", None, {})
case("timing without ScanningSequence: t2", "t2", {}, t=(5000, 100), fa="90")
case("timing without ScanningSequence: flair", "flair", {}, t=(9000, 110, 2500))
case("timing without ScanningSequence: t1 3d", "t1", {}, dim="3D", t=(7.6, 3.3), fa="10")
case("copied name: says T1, is FLAIR", "flair", SIEMENS, s=["SE", "IR"], t=(9000, 94, 2500), d="t1_se_tra")
case("copied name: says FLAIR, is T1", "t1", SIEMENS, s="SE", v="SP", t=(500, 9), fa="90", d="flair_tra")
case("copied name: says DWI, is T1", "t1", SIEMENS, s="GR", v="SP", dim="3D", t=(7, 3), fa="15", d="dwi")
case("between t1 and pd, named", "t1", GE, s="SE", v="SK", dim="2D", t=(1450, 11), fa="111", d="Sag T1 FSE")
case("between t1 and pd, not named", None, GE, s="SE", v="SK", dim="2D", t=(1450, 11), fa="111")
case(
    "backslashes instead of lists",
    "t1",
    {"ImageType": "ORIGINAL\\PRIMARY\\M"},
    s="GR\\IR",
    v="SK\\SP\\MP",
    dim="3D",
    t=(2300, 3, 900),
    fa="9",
)
case(
    "enhanced flair",
    "flair",
    {"EchoPulseSequence": "SPIN", "InversionRecovery": "YES"},
    160,
    dim="3D",
    t=(4800,),
    EffectiveEchoTime=320.0,
    InversionTimes=1650.0,
    ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
)
case(
    "enhanced diffusion",
    "dwi",
    {"EchoPulseSequence": "SPIN", "EchoPlanarPulseSequence": "YES"},
    400,
    t=(6000, 80),
    AcquisitionContrast="DIFFUSION",
    ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"],
)
case(
    "enhanced t1",
    "t1",
    {"EchoPulseSequence": "GRADIENT", "Spoiling": "RF"},
    176,
    dim="3D",
    t=(8, 3.7),
    fa="8",
    AcquisitionContrast="T1",
)
