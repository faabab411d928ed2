"""What of a header may be kept, and how: no personal attributes, nothing that a database would refuse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# Identify a person more than a study needs (from PS3.15 table E.1-1). Names are left out already where headers are
# read; this is the last check before the disk and does not rely on that. Age, sex, size and weight stay for the rules.
PERSONAL_ATTRIBUTES = frozenset(
    {
        "AdditionalPatientHistory",
        "ConsultingPhysicianName",
        "CountryOfResidence",
        "EthnicGroup",
        "IssuerOfPatientID",
        "MedicalRecordLocator",
        "MilitaryRank",
        "NameOfPhysiciansReadingStudy",
        "Occupation",
        "OperatorsName",
        "OtherPatientIDs",
        "OtherPatientNames",
        "PatientAddress",
        "PatientBirthDate",
        "PatientBirthName",
        "PatientBirthTime",
        "PatientComments",
        "PatientInstitutionResidence",
        "PatientInsurancePlanCodeSequence",
        "PatientMotherBirthName",
        "PatientName",
        "PatientReligiousPreference",
        "PatientTelecomInformation",
        "PatientTelephoneNumbers",
        "PerformingPhysicianName",
        "PhysiciansOfRecord",
        "ReferringPhysicianAddress",
        "ReferringPhysicianName",
        "ReferringPhysicianTelephoneNumbers",
        "RegionOfResidence",
        "RequestingPhysician",
        "ResponsiblePerson",
        "ScheduledPerformingPhysicianName",
    }
)

# Attributes of the study and of the patient at its time (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2), and where it was made.
OF_STUDY = frozenset(
    {
        "AccessionNumber",
        "AdmissionID",
        "AdmittingDiagnosesDescription",
        "InstitutionName",
        "InstitutionalDepartmentName",
        "PatientAge",
        "PatientID",
        "PatientSex",
        "PatientSize",
        "PatientWeight",
        "RequestedProcedureDescription",
        "RequestedProcedureID",
        "StudyDate",
        "StudyDescription",
        "StudyID",
        "StudyInstanceUID",
        "StudyTime",
    }
)


def plain(value: Any) -> Any:
    """The value as both databases take it.

    PostgreSQL refuses NUL characters, NaN and infinity in JSON, and neither takes half a surrogate pair; broken headers
    have them all, and must not cost an image its row.
    """
    match value:
        case str():
            return value.replace("\x00", "").encode("utf-8", "replace").decode() if not _harmless(value) else value
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {plain(str(key)): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return plain(str(value))


# Characters of one value (PS3.5, table 6.2-1). An index has its own limit, far above them: what is longer is damage.
LONGEST = {"AE": 16, "CS": 16, "DA": 8, "LO": 64, "SH": 16, "UI": 64}
LARGEST_NUMBER = 2**31 - 1
"""Of a count (IS, PS3.5 table 6.2-1); SQLite takes no more than 64 bits, and what is larger is damage too."""


def bounded(value: str, vr: str) -> str:
    """A text as a column takes it: harmless, and no longer than its value representation allows.

    The full value stays in the file. It is cut rather than refused: an image is worth more than the end of a field.
    """
    text: str = plain(value)
    return text if len(text) <= LONGEST[vr] else text[: LONGEST[vr] - 1] + "…"


def bounded_number(value: int | None) -> int | None:
    """A count as a column takes it; None for what cannot be one."""
    return value if value is None or 0 <= value <= LARGEST_NUMBER else None


def _harmless(text: str) -> bool:
    return text.isascii() and "\x00" not in text


def storable(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Tags of an image or a series without personal attributes, as plain JSON values."""
    return {keyword: plain(value) for keyword, value in tags.items() if keyword not in PERSONAL_ATTRIBUTES}


def of_study(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Those tags that belong to the study as a whole, and hold something."""
    return {keyword: value for keyword, value in tags.items() if keyword in OF_STUDY and value not in (None, "", [])}
