"""From headers of files to the studies that they make up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dicomio.headers import Header
from pipelines.attributes import SeriesFacts, StudyFacts
from pipelines.tagvalues import number

_STUDY_KEYWORDS = (
    "AccessionNumber",
    "AdditionalPatientHistory",
    "AdmittingDiagnosesDescription",
    "EthnicGroup",
    "InstitutionName",
    "PatientAge",
    "PatientBirthDate",
    "PatientID",
    "PatientSex",
    "PatientSize",
    "PatientWeight",
    "StudyDate",
    "StudyDescription",
    "StudyID",
    "StudyInstanceUID",
    "StudyTime",
)
"""What is the same for all series of a study (PS3.3 A.1.3: patient, study)."""


def facts_from_headers(headers: Iterable[Header]) -> tuple[StudyFacts, ...]:
    """Groups headers into studies and series; copies of the same instance count once.

    Images that share a SOP Instance UID and lie elsewhere are counted: who loads them says what is wrong with them.

    Returns:
        Studies, and the series in each, in the order of their UIDs, whatever the order of the headers.
    """
    studies: dict[str, dict[str, dict[tuple[str, str], Header]]] = {}
    for header in headers:
        series = studies.setdefault(header.study_instance_uid, {}).setdefault(header.series_instance_uid, {})
        series.setdefault((header.sop_instance_uid, str(header.tags.get("ImagePositionPatient"))), header)
    return tuple(_study(uid, studies[uid]) for uid in sorted(studies))


def _study(uid: str, series: dict[str, dict[tuple[str, str], Header]]) -> StudyFacts:
    members = tuple(_series(series_uid, list(series[series_uid].values())) for series_uid in sorted(series))
    tags: dict[str, Any] = {}
    for member in members:
        for keyword in _STUDY_KEYWORDS:
            if tags.get(keyword) in (None, "") and keyword in member.tags:
                tags[keyword] = member.tags[keyword]
    return StudyFacts(study_instance_uid=uid, tags=tags, series=members)


def _series(uid: str, headers: list[Header]) -> SeriesFacts:
    headers.sort(key=lambda header: (number(header.tags, "InstanceNumber") or 0.0, header.sop_instance_uid))
    first = headers[0]
    return SeriesFacts(
        series_instance_uid=uid,
        tags={"SOPClassUID": first.sop_class_uid, "Modality": first.modality, **first.tags},
        instance_tags=tuple(header.instance_tags for header in headers),
        images=sum(header.frames for header in headers),
        source_ae=next((header.source_ae for header in headers if header.source_ae), ""),
    )
