"""What the structured report of a study says, from its findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicomio.results import codes
from dicomio.results.attributes import Algorithm
from dicomio.results.codes import Code
from dicomio.results.report.encoder import (
    AbsentFinding,
    ClassificationFinding,
    Conclusion,
    Measured,
    MeasurementGroup,
    ReportContent,
    StudyTotals,
    encode_report,
)
from dicomio.results.uids import derived_uid
from pipelines.findings import Answer
from pipelines.results.summary import summary_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

    from dicomio.results.segmentation.encoder import Encoding
    from pipelines.findings import Region
    from pipelines.results.writer import ResultWriter

TOTALS: dict[str, Code] = {
    "Liver volume": codes.VOLUME,
    "Tumour count": codes.LESION_COUNT,
    "Tumour volume": codes.TUMOUR_VOLUME,
    "Tumour burden": codes.TUMOUR_BURDEN,
    "Tumour core volume": codes.TUMOUR_CORE_VOLUME,
    "Edema volume": codes.EDEMA_VOLUME,
    "Non-enhancing core volume": codes.NON_ENHANCING_VOLUME,
    "Enhancing volume": codes.ENHANCING_VOLUME,
}
UNITS: dict[str, Code] = {
    "mL": codes.MILLILITRE,
    "mm": codes.MILLIMETRE,
    "%": codes.PERCENT,
    "1": codes.COUNT,
}

PRESENCE: dict[Answer, Code] = {
    Answer.TUMOUR: codes.PRESENT,
    Answer.NO_TUMOUR: codes.ABSENT,
    Answer.UNCLEAR: codes.INDETERMINATE,
}

DEVICE_UID = derived_uid("scanward", "device observer")
"""Names Scanward as the observer in every report; which version and networks it ran, the report says beside."""


def encode_findings(
    writer: ResultWriter, encoding: Encoding, segmentation: Dataset | None, series_number: int, name: str
) -> None:
    """Writes the report that refers to `segmentation`."""
    content = report_content(writer, segmentation)
    report = encode_report(
        content,
        writer.sources,
        segmentation,
        header=writer.header,
        uids=writer.uids(f"SR {encoding}"),
        series_number=series_number,
        series_description=f"Scanward {writer.pipeline.title} report",
        created=writer.job.created,
        device_uid=DEVICE_UID,
    )
    writer.write(report, "report", name, encoding)


def report_content(writer: ResultWriter, segmentation: Dataset | None) -> ReportContent:
    """Everything that the report says."""
    findings, pipeline = writer.findings, writer.pipeline
    segmenter = writer.algorithm()
    classifier = writer.algorithm("classifier") if findings.classifications else segmenter
    absent: tuple[AbsentFinding, ...] = ()
    if findings.answer is Answer.NO_TUMOUR:
        absent = (
            AbsentFinding(
                "Lesions", writer.tracking_uid("Lesions"), segmenter, finding=pipeline.finding, site=pipeline.site
            ),
        )
    return ReportContent(
        summary=summary_line(findings),
        conclusion=Conclusion(
            tracking_id=findings.question,
            tracking_uid=writer.tracking_uid(findings.question),
            finding=pipeline.finding,
            presence=PRESENCE[findings.answer],
            algorithm=segmenter,
            site=pipeline.site,
        ),
        groups=tuple(_group(writer, number, segmenter) for number in _encoded_numbers(segmentation)),
        classifications=tuple(
            ClassificationFinding(
                tracking_id=answer.question,
                tracking_uid=writer.tracking_uid(answer.question),
                finding=pipeline.finding,
                present=None if findings.answer is Answer.UNCLEAR else answer.positive,
                probability=answer.probability,
                algorithm=classifier,
                site=pipeline.site,
            )
            for answer in findings.classifications
        ),
        absent=absent,
        totals=tuple(_totals(writer, segmenter)),
        notes=(*findings.notes, *filter(None, [findings.read])),
    )


def _totals(writer: ResultWriter, algorithm: Algorithm) -> Iterator[StudyTotals]:
    """The study's figures, and those of each lesion that is no segment of its own."""
    findings, pipeline = writer.findings, writer.pipeline
    measured = {
        "Study totals": tuple(
            Measured(TOTALS[name], value, UNITS[unit]) for name, (value, unit) in findings.totals.items()
        ),
        **{lesion.tracking_id: _figures(lesion) for lesion in findings.lesions if not lesion.outlined},
    }
    for tracking_id, figures in measured.items():
        yield StudyTotals(
            tracking_id=tracking_id,
            tracking_uid=writer.tracking_uid(tracking_id),
            measurements=figures,
            algorithm=algorithm,
            finding=pipeline.finding,
            site=pipeline.site,
        )


def _encoded_numbers(segmentation: Dataset | None) -> list[int]:
    """Numbers of the segments that stand for a region; a label map describes its background as segment 0."""
    segments = segmentation.SegmentSequence if segmentation is not None else []
    return [int(segment.SegmentNumber) for segment in segments if int(segment.SegmentNumber) > 0]


def _group(writer: ResultWriter, number: int, algorithm: Algorithm) -> MeasurementGroup:
    region = writer.findings.outlined[number - 1]
    return MeasurementGroup(
        segment_number=number,
        tracking_id=region.tracking_id,
        tracking_uid=writer.tracking_uid(region.tracking_id),
        finding=region.label.type,
        category=region.label.category,
        site=region.label.anatomic_region or writer.pipeline.site,
        algorithm=algorithm,
        measurements=_figures(region),
    )


def _figures(region: Region) -> tuple[Measured, ...]:
    volume = Measured(codes.VOLUME, region.volume_ml, codes.MILLILITRE)
    if region.diameters is None:
        return (volume,)
    return (
        volume,
        Measured(codes.LONG_AXIS, region.diameters.axial_mm, codes.MILLIMETRE),
        Measured(codes.CORONAL_DIAMETER, region.diameters.coronal_mm, codes.MILLIMETRE),
        Measured(codes.SAGITTAL_DIAMETER, region.diameters.sagittal_mm, codes.MILLIMETRE),
    )
