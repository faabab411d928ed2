"""Studies for tests of routing, as plain facts."""

from __future__ import annotations

from typing import Any

from pipelines.rules.study.attributes import SeriesAttributes, StudyAttributes

AXIAL = [1, 0, 0, 0, 1, 0]
CORONAL = [1, 0, 0, 0, 0, -1]
SAGITTAL = [0, 1, 0, 0, 0, -1]

_KINDS: dict[str, dict[str, Any]] = {
    "flair": {"RepetitionTime": 9000, "EchoTime": 120, "InversionTime": 2500, "ScanningSequence": ["SE", "IR"]},
    "t1": {"RepetitionTime": 500, "EchoTime": 10, "ScanningSequence": "SE", "FlipAngle": 90},
    "t2": {"RepetitionTime": 4000, "EchoTime": 100, "ScanningSequence": "SE", "FlipAngle": 90},
    "dwi": {"RepetitionTime": 6000, "EchoTime": 90, "ScanningSequence": ["SE", "EP"], "DiffusionBValue": 1000},
}


def mr(
    number: int, kind: str, description: str = "", *, slices: int = 24, spacing: float = 5, **tags: Any
) -> SeriesAttributes:
    """One MR series of 24 axial slices; its UID is `1.<number>`."""
    header = {
        "Modality": "MR",
        "SeriesNumber": number,
        "SeriesDescription": description or kind.upper(),
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "ImageOrientationPatient": AXIAL,
        "PixelSpacing": [0.8, 0.8],
        "SliceThickness": spacing,
        **_KINDS.get(kind, {}),
        **tags,
    }
    return SeriesAttributes(f"1.{number}", header, positions(slices, spacing), images=slices, source_ae="MR1")


def ct(
    number: int, description: str = "Abdomen", *, slices: int = 60, spacing: float = 5, **tags: Any
) -> SeriesAttributes:
    """One CT series of axial slices."""
    header = {
        "Modality": "CT",
        "SeriesNumber": number,
        "SeriesDescription": description,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImageOrientationPatient": AXIAL,
        "PixelSpacing": [0.8, 0.8],
        "SliceThickness": spacing,
        **tags,
    }
    return SeriesAttributes(f"1.{number}", header, positions(slices, spacing), images=slices, source_ae="CT1")


def positions(slices: int, spacing: float, volumes: int = 1) -> tuple[dict[str, Any], ...]:
    """What differs from image to image: their position."""
    return tuple({"ImagePositionPatient": [0, 0, spacing * number]} for number in range(slices)) * volumes


def study(*series: SeriesAttributes, **tags: Any) -> StudyAttributes:
    """A study; UID 1."""
    return StudyAttributes("1", tags, series)


def brain() -> StudyAttributes:
    """A brain tumour examination as it comes: localizer, FLAIR, T1 before and after contrast, T2, diffusion."""
    return study(
        mr(1, "", "localizer", slices=3),
        mr(2, "flair", "AX FLAIR"),
        mr(3, "t1", "AX T1"),
        mr(4, "t2", "AX T2"),
        mr(5, "dwi", "DWI"),
        mr(6, "t1", "AX T1 +C"),
        StudyDescription="MR Brain",
        PatientName="Doe^Jane",
        PatientBirthDate="19600102",
        PatientID="JD19600102",
    )


def phases(whole: StudyAttributes) -> dict[str, Any]:
    return {one.series_instance_uid: whole.derived(one, "phase").value for one in whole.series}


def because(whole: StudyAttributes) -> list[str]:
    return [whole.derived(one, "phase").because for one in whole.series]


def scan(number: int, time: str, description: str = "Abdomen 5.0", **tags: Any) -> SeriesAttributes:
    return ct(number, description, AcquisitionTime=time, **tags)
