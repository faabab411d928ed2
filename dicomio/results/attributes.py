"""What all result objects share: patient and study of the source, equipment, dates, and writing the file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from importlib import metadata
from pathlib import Path
from typing import Any

import highdicom
import structlog
from highdicom.sr import CodedConcept
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, DT, TM

from dicomio.files.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from dicomio.files.part10 import read_data_set
from dicomio.files.vr import ANY_CHARACTER_SET
from dicomio.results.codes import Code
from dicomio.results.valid_values import make_valid, valid_character_set, valid_uid, valid_value

log = structlog.get_logger(__name__)

MANUFACTURER = "Scanward"
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
UTF8 = "ISO_IR 192"

# Where the source says when it was made, best first; anonymised data often has none of them.
_WHEN = ("Content", "Acquisition", "Series", "Study")
_NO_DATE = datetime(1900, 1, 1)
# Patient and trial stand in these groups, the study here and there.
_SUBJECT_GROUPS = frozenset({0x0010, 0x0012})
_OF_STUDY = frozenset(
    tag_for_keyword(keyword)
    for keyword in (
        "AccessionNumber",
        "AdmissionID",
        "AdmittingDiagnosesCodeSequence",
        "AdmittingDiagnosesDescription",
        "ConsultingPhysicianIdentificationSequence",
        "ConsultingPhysicianName",
        "IssuerOfAccessionNumberSequence",
        "IssuerOfAdmissionIDSequence",
        "IssuerOfServiceEpisodeIDSequence",
        "NameOfPhysiciansReadingStudy",
        "PatientState",
        "PhysiciansOfRecord",
        "PhysiciansOfRecordIdentificationSequence",
        "PhysiciansReadingStudyIdentificationSequence",
        "ProcedureCodeSequence",
        "ReasonForPerformedProcedureCodeSequence",
        "ReasonForVisit",
        "ReasonForVisitCodeSequence",
        "ReferencedPatientSequence",
        "ReferencedStudySequence",
        "ReferringPhysicianIdentificationSequence",
        "ReferringPhysicianName",
        "RequestingService",
        "RequestingServiceCodeSequence",
        "ServiceEpisodeDescription",
        "ServiceEpisodeID",
        "StudyDate",
        "StudyDescription",
        "StudyID",
        "StudyInstanceUID",
        "StudyTime",
    )
)
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


@dataclass(frozen=True)
class ResultUIDs:
    """Where a result belongs: its series, and its own SOP Instance UID; derive both (`uids.derived_uid`)."""

    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Algorithm:
    """The network that an output comes from.

    Attributes:
        name: Name of the model package.
        version: Its version; add the digest where two builds share a version.
        family: Code from CID 7162.
        parameters: Settings that a reader may want to know ("threshold=0.5").
    """

    name: str
    version: str
    family: Code = ARTIFICIAL_INTELLIGENCE
    parameters: tuple[str, ...] = ()


def software_version() -> str:
    """Version of the installed Scanward, as it stands in Software Versions (0018,1020)."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("scanward")
    return "0"


def read_source_header(path: Path) -> Dataset:
    """One image of the source series without its pixels: what the results inherit patient and study from."""
    return read_data_set(path)


def source_time(header: Dataset) -> datetime:
    """When the source image was made: the time of results whose bytes may depend on nothing but their inputs.

    Falls back from content to acquisition, series and study date; 1900-01-01 when all are blank (anonymised data).
    """
    for what in _WHEN:
        day, clock = (_date(valid_value(header, f"{what}Date")), _time(valid_value(header, f"{what}Time")))
        if day is not None:
            return datetime.combine(day, clock)
    return _NO_DATE


def _date(value: Any) -> date | None:
    return DA(str(value)) if value else None


def _time(value: Any) -> time:
    return (TM(str(value)) if value else None) or time()


def concept(code: Code) -> CodedConcept:
    """A code as highdicom takes it."""
    return CodedConcept(code.value, code.scheme, code.meaning)


def local_time(moment: datetime) -> datetime:
    """A moment as DICOM dates and times have it: local time of this machine, without an offset."""
    return moment if moment.tzinfo is None else moment.astimezone().replace(tzinfo=None)


def base_attributes(series_number: int, series_description: str, created: datetime) -> dict[str, Any]:
    """Arguments that all highdicom constructors share; `inherit_from_source` adds patient and study."""
    created = local_time(created)
    return {
        "series_number": series_number,
        "series_description": series_description,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MANUFACTURER,
        "software_versions": software_version(),
        "device_serial_number": "1",  # required of enhanced equipment; software has none
        "content_qualification": "RESEARCH",
        "content_date": created.date(),
        "content_time": created.time(),
        "series_date": created.date(),
        "series_time": created.time(),
    }


def placeholder_source(study_instance_uid: str, series_instance_uid: str) -> Dataset:
    """A source image as highdicom wants to see one, without a patient.

    highdicom refuses sources that lack an attribute or hold a value outside the standard, which scanners and
    anonymisers write all the time; `inherit_from_source` puts the real patient and study in afterwards, as they are.
    """
    source = Dataset()
    source.SOPClassUID = CT_IMAGE
    source.StudyInstanceUID = valid_uid(study_instance_uid)
    source.SeriesInstanceUID = valid_uid(series_instance_uid)
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"):
        setattr(source, keyword, "")
    for keyword in ("StudyID", "StudyDate", "StudyTime"):
        setattr(source, keyword, "")
    return source


def inherit_from_source(result: highdicom.SOPClass, header: Dataset, created: datetime) -> Dataset:
    """Gives a result the patient, study and character set of its source, and the time of its making.

    Args:
        result: As highdicom made it from `placeholder_source`.
        header: Any image of the source series, without pixels.
        created: When the result was made: every date and time in it that is its own.

    Returns:
        A plain data set, ready to be written.
    """
    subject, changed = patient_and_study_of(header)
    for keyword in changed:
        log.warning("attribute_not_inherited", keyword=keyword)
    character_set, created = _character_set(result, subject, header), local_time(created)
    subject.SOPClassUID, subject.SOPInstanceUID = CT_IMAGE, result.SOPInstanceUID  # highdicom asks for both
    result.copy_patient_and_study_information(subject)
    if result.get("PatientSex") is None:
        result.PatientSex = ""
    result.InstanceCreationDate, result.InstanceCreationTime = DA(created.date()), TM(created.time())
    for equipment in result.get("ContributingEquipmentSequence", []):
        equipment.ContributionDateTime = DT(created)  # highdicom writes the time of day
    result.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    result.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    plain = Dataset(result)  # highdicom's own class carries look-up tables that no receiver sees
    plain.file_meta, plain.preamble = result.file_meta, b"\0" * 128
    if character_set:
        plain.SpecificCharacterSet = character_set
    elif "SpecificCharacterSet" in plain:
        del plain.SpecificCharacterSet
    return plain


def changed_attributes(header: Dataset, uids: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Keywords of attributes that results cannot carry as they are in the source.

    Args:
        header: Any image of the source series.
        uids: Keyword and value of the UIDs of the source that results refer to.
    """
    illegal = dict.fromkeys(keyword for keyword, value in uids if value and valid_uid(value) != value)
    return (*patient_and_study_of(header)[1], *illegal)


def lossy_compression(header: Dataset) -> Iterator[tuple[str, Any]]:
    """The source's attributes of lossy compression, all of them or none (PS3.3 C.7.6.1.1.5)."""
    told = {keyword: valid_value(header, keyword) for keyword in _LOSSY}
    if told["LossyImageCompression"] == "01" and all(told.values()):
        yield from told.items()
    elif told["LossyImageCompression"] in ("00", "01"):
        yield "LossyImageCompression", told["LossyImageCompression"]


def patient_and_study_of(header: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """Patient and study as the results carry them, and the attributes that had to be changed or left out."""
    subject = Dataset()
    if (character_set := valid_character_set(header)) is not None:
        subject.SpecificCharacterSet = character_set
    for tag in list(header.keys()):
        if tag.group in _SUBJECT_GROUPS or tag in _OF_STUDY:
            subject[tag] = header.get_item(tag)
    return make_valid(subject)


def _character_set(result: Dataset, subject: Dataset, header: Dataset) -> Any:
    """The source's character set, so that names arrive byte for byte; UTF-8 if it cannot encode all text."""
    found = valid_character_set(header)
    inherited = _texts(subject)
    if found is None:
        return None if all(text.isascii() for text in (*_texts(result), *inherited)) else UTF8
    return found if all(text.isascii() for text in _texts(result)) else UTF8


def _texts(dataset: Dataset) -> Iterator[str]:
    """All text, except in the description of the frames, which has none and is long."""
    for element in dataset:
        if element.VR in ANY_CHARACTER_SET:
            yield str(element.value)
        elif element.VR == "SQ" and element.keyword != "PerFrameFunctionalGroupsSequence":
            for item in element.value:
                yield from _texts(item)


def write_result(result: Dataset, path: Path) -> None:
    """Writes a DICOM file that is either complete or not there, mode 0600."""
    part = path.with_name(path.name + ".part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        result.save_as(file, enforce_file_format=True)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
