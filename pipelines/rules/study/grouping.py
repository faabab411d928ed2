"""From what is known of images to the studies that they make up, as rules see them.

`study_attributes` makes them for the daemon (whose images are rows) and for a folder (whose images are headers): so
`scanward rules explain DIR` says what the daemon would do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicomio.files.headers import INSTANCE_KEYWORDS, Header
from dicomio.files.personal import PERSONAL_ATTRIBUTES
from pipelines.rules.study.attributes import SeriesAttributes, StudyAttributes
from pipelines.rules.tag_values import number

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
"""What is the same for all series of a study: patient, study, request, institution (PS3.3 A.1.3)."""


@dataclass(frozen=True)
class KnownImage:
    """One image, as it is kept: its frames, who sent it, and those of its tags that differ from image to image."""

    sop_instance_uid: str
    tags: Mapping[str, Any]
    frames: int = 1
    source_ae: str = ""


@dataclass(frozen=True)
class KnownSeries:
    """One series, as it is kept: its images in any order, and all tags of one of them."""

    series_instance_uid: str
    tags: Mapping[str, Any]
    images: Sequence[KnownImage]


def study_attributes(uid: str, tags: Mapping[str, Any], series: Iterable[KnownSeries]) -> StudyAttributes:
    """A study as the rules see it, the same whatever the order of series and images.

    Args:
        uid: Study Instance UID.
        tags: What its images say of the study; whatever else is in there is left out.
        series: Its series.
    """
    members = tuple(_series(one) for one in sorted(series, key=lambda one: one.series_instance_uid))
    of_study = {keyword: value for keyword, value in tags.items() if keyword in OF_STUDY and _filled(value)}
    return StudyAttributes(study_instance_uid=uid, tags=of_study, series=members)


def _filled(value: Any) -> bool:
    return value not in (None, "", [])


def _series(known: KnownSeries) -> SeriesAttributes:
    images = sorted(known.images, key=lambda one: (number(one.tags, "InstanceNumber") or 0.0, one.sop_instance_uid))
    shared = {key: value for key, value in known.tags.items() if key not in INSTANCE_KEYWORDS | PERSONAL_ATTRIBUTES}
    return SeriesAttributes(
        series_instance_uid=known.series_instance_uid,
        tags=shared | dict(images[0].tags),
        instance_tags=tuple(one.tags for one in images),
        images=sum(max(one.frames, 1) for one in images),
        source_ae=next((one.source_ae for one in images if one.source_ae), ""),
    )


def studies_from_headers(headers: Iterable[Header], source_ae: str = "") -> tuple[StudyAttributes, ...]:
    """Groups headers into studies and series; copies of the same instance count once.

    Images that share a SOP Instance UID and lie elsewhere are counted: who loads them says what is wrong with them.

    Args:
        headers: Of any number of studies, in any order.
        source_ae: Taken as the sender of the images, which files in a folder seldom name.

    Returns:
        Studies, and the series in each, in the order of their UIDs.
    """
    studies: dict[str, dict[str, dict[tuple[str, str], Header]]] = {}
    for header in headers:
        series = studies.setdefault(header.study_instance_uid, {}).setdefault(header.series_instance_uid, {})
        series.setdefault((header.sop_instance_uid, str(header.tags.get("ImagePositionPatient"))), header)
    return tuple(_from_headers(uid, studies[uid], source_ae) for uid in sorted(studies))


def _from_headers(uid: str, series: Mapping[str, Mapping[Any, Header]], source_ae: str) -> StudyAttributes:
    ordered = {name: sorted(series[name].values(), key=_position) for name in sorted(series)}
    of_study: dict[str, Any] = {}
    for header in (header for headers in ordered.values() for header in headers):
        of_study = {
            key: header.tags[key] for key in OF_STUDY & header.tags.keys() if _filled(header.tags[key])
        } | of_study
    return study_attributes(uid, of_study, (_known(name, headers, source_ae) for name, headers in ordered.items()))


def _position(header: Header) -> tuple[float, str]:
    return number(header.tags, "InstanceNumber") or 0.0, header.sop_instance_uid


def _known(uid: str, headers: Sequence[Header], source_ae: str) -> KnownSeries:
    images = [
        KnownImage(header.sop_instance_uid, header.instance_tags, header.frames, source_ae or header.source_ae)
        for header in headers
    ]
    return KnownSeries(uid, headers[0].tags, images)
