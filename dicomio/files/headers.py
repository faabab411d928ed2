"""Headers: what is indexed of a file, read without its pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from dicomio.errors import InvalidAttribute, MissingAttribute, NotDicom
from dicomio.files.inflate import LARGEST_INFLATED
from dicomio.files.parse_errors import parse_errors_of
from dicomio.files.part10 import Part10, parse
from dicomio.files.values import integer, plain_tags, text
from dicomio.volumes.functional_groups import PER_FRAME, SHARED, functional_group_tags

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # the SOP class of a DICOMDIR

# What differs between the images of one series, and what routing derives something from.
INSTANCE_KEYWORDS = frozenset(
    {
        "AcquisitionNumber",
        "AcquisitionTime",
        "ContentTime",
        "ContrastBolusAgent",
        "DiffusionBValue",
        "EchoNumbers",
        "EchoTime",
        "GantryDetectorTilt",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "ImageType",
        "InstanceNumber",
        "InversionTime",
        "PixelSpacing",
        "SliceLocation",
        "SliceThickness",
        "TemporalPositionIdentifier",
        "TriggerTime",
    }
)
# Identifies a person, and no routing rule needs it; names of persons are left out by their VR.
_NOT_FOR_RULES = frozenset(
    {
        "AdditionalPatientHistory",
        "CountryOfResidence",
        "MilitaryRank",
        "OtherPatientIDs",
        "PatientAddress",
        "PatientComments",
        "PatientReligiousPreference",
        "PatientTelecomInformation",
        "PatientTelephoneNumbers",
        "RegionOfResidence",
    }
)
# UIDs become names of folders and files: whatever a sender writes there, it must stay one harmless name.
_SAFE_UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")


@dataclass(frozen=True)
class Header:
    """What is known of one file without its pixels.

    Attributes:
        source_ae: Application Entity that sent it (file meta), '' if unknown.
        frames: Number of frames; 1 for a classic image and for what is no image.
        has_pixels: There is an element with pixel data.
        rows: Height in pixels, None if it is no image.
        columns: Width in pixels, None if it is no image.
        tags: Keyword -> text, number or list of them, for every top-level attribute that is not a sequence, a person's
            name, bulk data or private. Present but empty is ''. For an enhanced object also the functional group values
            of its first frame, under the keywords of classic objects.
        instance_tags: The few of them that differ from image to image (INSTANCE_KEYWORDS).
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    patient_id: str
    accession_number: str
    study_date: str
    source_ae: str
    frames: int
    has_pixels: bool
    rows: int | None
    columns: int | None
    tags: dict[str, Any] = field(repr=False)
    instance_tags: dict[str, Any] = field(repr=False)


def read_header(path: Path, *, largest: int = LARGEST_INFLATED) -> Header:
    """Read a DICOM file without its pixels, and make sure that it is all there.

    Args:
        path: The file.
        largest: Bytes that a deflated data set may inflate to.

    Returns:
        The header. The pixels are neither read nor decoded, but their length is compared with the size of the file.

    Raises:
        NotDicom: Not a DICOM Part 10 file; a DICOMDIR, which is a table of contents.
        TruncatedFile: The header or the pixel data are cut off.
        MissingAttribute: One of the four UIDs (SOP class, SOP instance, study, series) is missing or empty.
        InvalidAttribute: One of them cannot be a UID.
        TooLarge: It is deflated, and inflates to more than `largest`.
        UnreadableHeader: Anything else that keeps it from being read.
        OSError: The disk failed, or the file is not there.
    """
    return header_of(parse(path, largest=largest))


def header_of(file: Part10) -> Header:
    """The header of a file that has been parsed; errors as in `read_header`, except for those of parsing."""
    with parse_errors_of(file.path):
        return _header(file)


def _header(file: Part10) -> Header:
    tags = _tags(file.dataset)
    if text(tags.get("SOPClassUID")) == MEDIA_DIRECTORY or "DirectoryRecordSequence" in file.dataset:
        raise NotDicom(path=file.path, reason="it is a DICOMDIR, which lists files and holds no images")
    return Header(
        sop_instance_uid=_uid(file.path, tags, "SOPInstanceUID"),
        sop_class_uid=_uid(file.path, tags, "SOPClassUID"),
        transfer_syntax_uid=str(file.dataset.file_meta.get("TransferSyntaxUID", "")),
        study_instance_uid=_uid(file.path, tags, "StudyInstanceUID"),
        series_instance_uid=_uid(file.path, tags, "SeriesInstanceUID"),
        modality=text(tags.get("Modality")),
        patient_id=text(tags.get("PatientID")),
        accession_number=text(tags.get("AccessionNumber")),
        study_date=text(tags.get("StudyDate")),
        source_ae=str(file.dataset.file_meta.get("SourceApplicationEntityTitle", "")).strip(),
        frames=max(1, integer(tags.get("NumberOfFrames")) or 1),
        has_pixels=file.pixels is not None,
        rows=integer(tags.get("Rows")),
        columns=integer(tags.get("Columns")),
        tags=tags,
        instance_tags={keyword: value for keyword, value in tags.items() if keyword in INSTANCE_KEYWORDS},
    )


def _tags(dataset: Dataset) -> dict[str, Any]:
    tags: dict[str, Any] = {}
    if SHARED in dataset or PER_FRAME in dataset:
        tags.update(functional_group_tags(dataset))
    tags.update(plain_tags(dataset))
    return {keyword: value for keyword, value in tags.items() if keyword not in _NOT_FOR_RULES}


def _uid(path: Path, tags: dict[str, Any], keyword: str) -> str:
    value = text(tags.get(keyword))
    if not value:
        raise MissingAttribute(path=path, keyword=keyword)
    if not _SAFE_UID.fullmatch(value):
        raise InvalidAttribute(path=path, keyword=keyword, reason="it is not a valid UID (digits and dots)")
    return value
