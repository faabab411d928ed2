"""Encodes structured reports: Comprehensive 3D SR, TID 1500 (PS3.16 A), in the shape of IHE AI Results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import Comprehensive3DSR
from pydicom.dataset import Dataset

from dicomio.errors import EncodingFault
from dicomio.results.attributes import (
    MANUFACTURER,
    ResultUIDs,
    base_attributes,
    inherit_from_source,
    placeholder_source,
)
from dicomio.results.codes import PRIVATE_SCHEME
from dicomio.results.report.content import (
    AbsentFinding,
    ClassificationFinding,
    Conclusion,
    Evaluation,
    Measured,
    MeasurementGroup,
    ReportContent,
    SourceSeries,
    StudyTotals,
)
from dicomio.results.report.tree import insert_image_library, report_tree
from dicomio.results.valid_values import study_uid_of, valid_uid

__all__ = [
    "AbsentFinding",
    "ClassificationFinding",
    "Conclusion",
    "Evaluation",
    "Measured",
    "MeasurementGroup",
    "ReportContent",
    "SourceSeries",
    "StudyTotals",
    "encode_report",
]

RESEARCH_STATEMENT = "Research use only. Not a medical device. Not for diagnosis or treatment decisions."


def encode_report(
    content: ReportContent,
    sources: Sequence[SourceSeries],
    segmentation: Dataset | None,
    *,
    header: Dataset,
    uids: ResultUIDs,
    series_number: int,
    series_description: str,
    created: datetime,
    device_uid: str,
) -> Dataset:
    """Encodes a report; complete, unverified and preliminary, by a device and no person. Same inputs, same bytes.

    Args:
        content: What it says.
        sources: The series that the findings were made from, the one that the masks lie on first; all of one study.
        segmentation: As `encode_segmentation` returned it; None when there is none, as without any finding.
        header: Any image of the first series, without pixels.
        uids: Of the result.
        series_number: Series Number; fixed, so that a retry gives the same object.
        series_description: At most 64 characters.
        created: Date and time of the content.
        device_uid: Identifies this installation of Scanward as the observer; the same in all its reports.

    Raises:
        EncodingFault: A group refers to a segment that is not in the segmentation or is tracked under another name.
        ValueError: The report would say nothing.
    """
    if not (content.groups or content.study_groups):
        raise ValueError("a report needs at least one group; say what was absent if there is no finding")
    _check_segments(content.groups, segmentation)
    evidence, study_uid = _evidence(sources, segmentation), study_uid_of(header)
    report = Comprehensive3DSR(
        evidence=_first_of(evidence, study_uid),
        content=report_tree(content, sources, segmentation, device_uid, RESEARCH_STATEMENT),
        series_instance_uid=uids.series_instance_uid,
        sop_instance_uid=uids.sop_instance_uid,
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[_private_scheme()],
        **base_attributes(series_number, series_description, created),
    )
    report.CurrentRequestedProcedureEvidenceSequence = _by_series(evidence, study_uid)
    document = inherit_from_source(report, header, created)
    insert_image_library(document, sources)
    return document


def _check_segments(groups: Sequence[MeasurementGroup], segmentation: Dataset | None) -> None:
    """Report and segmentation must track the same things under the same names."""
    segments = segmentation.SegmentSequence if segmentation is not None else []
    tracked = {int(item.SegmentNumber): (item.get("TrackingID"), item.get("TrackingUID")) for item in segments}
    for group in groups:
        if tracked.get(group.segment_number) != (group.tracking_id, group.tracking_uid):
            reason = f"its group {group.tracking_id!r} is not what segment {group.segment_number} tracks"
            raise EncodingFault(what="the report", reason=reason)


def _evidence(sources: Sequence[SourceSeries], segmentation: Dataset | None) -> dict[str, tuple[str, str]]:
    """Every instance that the report rests on, the segmentation first: its UID -> series and SOP class."""
    found = {}
    if segmentation is not None:
        found[str(segmentation.SOPInstanceUID)] = (str(segmentation.SeriesInstanceUID), str(segmentation.SOPClassUID))
    for series in sources:
        series_uid = valid_uid(series.series_instance_uid)
        found |= {valid_uid(one.sop_instance_uid): (series_uid, valid_uid(one.sop_class_uid)) for one in series.images}
    return found


def _first_of(evidence: Mapping[str, tuple[str, str]], study_uid: str) -> list[Dataset]:
    """The one instance that highdicom has to see, without a patient, for `inherit_from_source` sees to that.

    It is the segmentation, which the content refers to, or without one an image. All the images of a study take it
    longer than all the rest of the report.
    """
    sop_instance, (series_uid, sop_class) = next(iter(evidence.items()))
    item = placeholder_source(study_uid, series_uid)
    item.SOPClassUID, item.SOPInstanceUID = sop_class, sop_instance
    return [item]


def _by_series(evidence: Mapping[str, tuple[str, str]], study_uid: str) -> list[Dataset]:
    """The evidence as a report lists it (PS3.3 C.17.2.3): by study, here one, and series."""
    grouped: dict[str, list[Dataset]] = {}
    for sop_instance, (series_uid, sop_class) in evidence.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        grouped.setdefault(series_uid, []).append(item)
    study = Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = study_uid, []
    for series_uid, items in grouped.items():
        series = Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = series_uid, items
        study.ReferencedSeriesSequence.append(series)
    return [study]


def _private_scheme() -> CodingSchemeIdentificationItem:
    return CodingSchemeIdentificationItem(
        designator=PRIVATE_SCHEME, name="Scanward's own codes", responsible_organization=MANUFACTURER
    )
