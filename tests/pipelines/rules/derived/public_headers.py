"""Timing of real MR series that others have published (BIDS side files of OpenNeuro and of tools), with what they are.

Values are as published, in DICOM's units. The way sequences are told apart was written before these were looked at; two
names were learnt from them afterwards ("da-fl" for dark fluid, MAP in ImageType).
"""

from __future__ import annotations

from typing import Any

# source, what it is, header
PUBLIC: list[tuple[str, str | None, dict[str, Any]]] = []


def _real(source: str, kind: str | None, **header: Any) -> None:
    PUBLIC.append((source, kind, {"Modality": "MR", **header}))


_ND = ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]
_MPRAGE: dict[str, Any] = {
    "Manufacturer": "Siemens",
    "MRAcquisitionType": "3D",
    "ScanningSequence": "GR\\IR",
    "SequenceVariant": "SK\\SP\\MP",
    "ScanOptions": "IR",
    "SequenceName": "*tfl3d1_16ns",
    "ImageType": _ND,
}

_real("ds003778 T1w", "t1", **_MPRAGE, EchoTime=3.43, RepetitionTime=2500, InversionTime=1100, FlipAngle=7)
_real("ds004499 T1w", "t1", **_MPRAGE, EchoTime=2.33, RepetitionTime=2300, InversionTime=900, FlipAngle=8)
_real("ds003507 T1w", "t1", **_MPRAGE, EchoTime=4.11, RepetitionTime=2250, InversionTime=925, FlipAngle=9)
_real("ds004007 T1w", "t1", **_MPRAGE, EchoTime=2.88, RepetitionTime=2300, InversionTime=900, FlipAngle=9)
_real(
    "ds005345 UNIT1 at 7 T",
    "t1",
    **(_MPRAGE | {"ImageType": ["DERIVED", "PRIMARY", "M", "ND", "UNI"]}),
    SeriesDescription="t1_mp2rage_sag_0.7mm_UNI_Images",
    EchoTime=2.32,
    RepetitionTime=3800,
)
_real(
    "Siemens Vision MPRAGE",
    "t1",
    Manufacturer="Siemens",
    ScanningSequence="GR\\IR",
    SequenceVariant="SP\\MP",
    EchoTime=4,
    RepetitionTime=9.5,
    InversionTime=20,
    FlipAngle=10,
)
_real(
    "ds004835 PDw at 7 T",
    "pd",
    Manufacturer="Siemens",
    MRAcquisitionType="3D",
    SeriesDescription="pd_mprage_iso0.6_angulated",
    ScanningSequence="GR",
    SequenceVariant="SP",
    SequenceName="*tfl3d1_ns",
    ImageType=_ND,
    EchoTime=2.52,
    RepetitionTime=1440,
    FlipAngle=5,
)
_real(
    "ds007135 FLAIR",
    "flair",
    Manufacturer="Siemens",
    MRAcquisitionType="3D",
    SeriesDescription="FLAIR_3D_T2SPACE mosaic",
    ScanningSequence="SE\\IR",
    SequenceVariant="SK\\SP\\MP",
    ScanOptions="IR\\PFP",
    SequenceName="spcir3d1_282ns",
    ImageType=_ND,
    EchoTime=475,
    RepetitionTime=5000,
    InversionTime=1810,
    FlipAngle=120,
)
_real(
    "ds005270 FLAIR",
    "flair",
    Manufacturer="Siemens",
    MRAcquisitionType="3D",
    SeriesDescription="Sag 3D SPACE FLAIR (spc_ir_ns_sag_p2_iso)",
    ScanningSequence="SE\\IR",
    SequenceVariant="SK\\SP\\MP",
    SequenceName="*spcir3d1_298ns",
    ImageType=_ND,
    EchoTime=466,
    RepetitionTime=4000,
    InversionTime=2500,
    FlipAngle=120,
)
_real(
    "Monash T2w that is a FLAIR",
    "flair",
    Manufacturer="Siemens",
    MRAcquisitionType="3D",
    SeriesDescription="t2_spc_da-fl_sag_p2_iso_1.0",
    ScanningSequence="SE\\IR",
    SequenceVariant="SK\\SP\\MP",
    SequenceName="*spcir_284ns",
    ImageType=_ND,
    EchoTime=397,
    RepetitionTime=5000,
    InversionTime=1800,
    FlipAngle=120,
)
_real(
    "ds003707 T2w",
    "t2",
    Manufacturer="Siemens",
    MRAcquisitionType="2D",
    SeriesDescription="t2_tse_cor65slice_2avg.+",
    ScanningSequence="SE",
    SequenceVariant="SK\\SP\\OSP",
    SequenceName="*tse2d1_18",
    EchoTime=88,
    RepetitionTime=13520,
    FlipAngle=150,
    EchoTrainLength=18,
)
_real(
    "ds005603 T2w",
    "t2",
    Manufacturer="Siemens",
    MRAcquisitionType="2D",
    SeriesDescription="tse_p3",
    ScanningSequence="SE",
    SequenceVariant="SK\\SP\\OSP",
    SequenceName="*tse2d1_17",
    EchoTime=86,
    RepetitionTime=6150,
    FlipAngle=120,
)
_real(
    "ABCD T2w",
    "t2",
    Manufacturer="SIEMENS",
    ScanningSequence="SE",
    SequenceVariant=["SK", "SP"],
    SequenceName="spc_200ns",
    ImageType=["ORIGINAL", "PRIMARY", "M", "ND"],
    EchoTime="565",
    RepetitionTime="3200",
)
_real(
    "Prisma knee proton density",
    "pd",
    Manufacturer="Siemens",
    MRAcquisitionType="2D",
    ScanningSequence="SE",
    EchoTime=38,
    RepetitionTime=3800,
    FlipAngle=120,
)
_real(
    "Monash dwi",
    "dwi",
    Manufacturer="Siemens",
    MRAcquisitionType="2D",
    SeriesDescription="R-L MRtrix 60 directions interleaved B0 ep2d_diff_p2",
    ScanningSequence="EP",
    SequenceVariant="SK\\SP",
    SequenceName="*ep_b0",
    ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND", "NORM"],
    EchoTime=110,
    RepetitionTime=8800,
    FlipAngle=90,
)
_real(
    "Cambridge resting state",
    "bold",
    Manufacturer="Siemens",
    MRAcquisitionType="2D",
    SeriesDescription="WBIC_Resting_State",
    ScanningSequence="EP",
    SequenceVariant="SK",
    SequenceName="*epfid2d1_64",
    ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
    EchoTime=30,
    RepetitionTime=2000,
    FlipAngle=78,
)
_real(
    "NIH EPI blip pair",
    "bold",
    Manufacturer="Siemens",
    MRAcquisitionType="2D",
    SeriesDescription="EPI PE=AP",
    ScanningSequence="EP",
    SequenceVariant="SK",
    ScanOptions="FS",
    SequenceName="epfid2d1_72",
    EchoTime=30,
    RepetitionTime=2000,
)
_real(
    "GE fMRI of food images",
    "bold",
    Manufacturer="GE",
    SeriesDescription="fmri_2d_epi_condition_1",
    ScanningSequence="EP\\GR",
    SequenceVariant="SS",
    ImageType=["ORIGINAL", "PRIMARY", "EPI", "NONE"],
    EchoTime=30,
    RepetitionTime=3000,
    FlipAngle=90,
)
_real(
    "Chicago T2 map",
    "map",
    Manufacturer="Philips",
    MRAcquisitionType="2D",
    SeriesDescription="T2_map_5_echoes",
    ScanningSequence="RM",
    SequenceVariant="SK",
    ImageType=["ORIGINAL", "PRIMARY", "T2 MAP", "T2", "UNSPECIFIED"],
    RepetitionTime=6384.8,
    FlipAngle=90,
)
_real(
    "Montreal flip angle map at 7 T: a scout-like TurboFLASH that nobody should take for a T1",
    None,
    Manufacturer="Siemens",
    MRAcquisitionType="2D",
    SeriesDescription="standard_tra",
    ScanningSequence="GR",
    SequenceVariant="SK\\SP",
    SequenceName="*tfl2d1_16",
    EchoTime=1.53,
    RepetitionTime=3760,
    FlipAngle=5,
)
