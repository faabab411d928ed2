"""From findings to DICOM: SEG, structured report, key images; written, and read back before anybody gets them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from dicomio import concepts
from dicomio.coding import Code
from dicomio.keyimages import KeyImage, encode_key_images, patient_orientation
from dicomio.masks import MaskBox, mask_boxes
from dicomio.report import (
    AbsentFinding,
    ClassificationFinding,
    Measured,
    MeasurementGroup,
    ReportContent,
    SourceSeries,
    StudyTotals,
    encode_report,
)
from dicomio.result import Algorithm, ResultUIDs, read_source_header, write_result
from dicomio.seg import SegmentSpec, encode_segmentation, verify_segmentation
from dicomio.spool import sync_folder
from dicomio.uids import derived_uid
from pipelines.overlay import KeySlice, key_slices, save_pictures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

    from dicomio.volume import Volume
    from pipelines.findings import Findings, Region
    from pipelines.networks import Progress
    from pipelines.registry import Pipeline
    from pipelines.work import JobDescription

Encoding = Literal["BINARY", "LABELMAP"]

OWN_FILES = ("seg.dcm", "seg-labelmap.dcm", "sr.dcm", "sr-labelmap.dcm", "key-??.dcm",
             "pictures/overview.png", "pictures/slice-*.png")  # fmt: skip
"""What a job writes: all that may be removed from its folder, which `scanward process` lets a person choose."""

TOTALS: dict[str, Code] = {
    "Liver volume": concepts.VOLUME,
    "Tumour count": concepts.LESION_COUNT,
    "Tumour volume": concepts.TUMOUR_VOLUME,
    "Tumour burden": concepts.TUMOUR_BURDEN,
    "Tumour core volume": concepts.TUMOUR_CORE_VOLUME,
    "Edema volume": concepts.EDEMA_VOLUME,
    "Non-enhancing core volume": concepts.NON_ENHANCING_VOLUME,
    "Enhancing volume": concepts.ENHANCING_VOLUME,
}
UNITS: dict[str, Code] = {
    "mL": concepts.MILLILITRE,
    "mm": concepts.MILLIMETRE,
    "%": concepts.PERCENT,
    "1": concepts.COUNT,
}

DEVICE_UID = derived_uid("scanward", "device observer")
"""Names Scanward as the observer in every report; which version and networks it ran, the report says beside."""


@dataclass(frozen=True)
class ResultFile:
    """One DICOM object that a job wrote.

    Attributes:
        kind: segmentation, report or key-image.
        encoding: For which form of SEG it was made; None where that does not matter.
    """

    kind: Literal["segmentation", "report", "key-image"]
    path: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    encoding: Encoding | None = None


class _Writer:
    """What every output of one job shares: source, folder, identity, time."""

    def __init__(
        self, findings: Findings, pipeline: Pipeline, job: JobDescription, volumes: tuple[Volume, ...]
    ) -> None:
        self.findings, self.pipeline, self.job = findings, pipeline, job
        self.sources = tuple(SourceSeries.of(volume) for volume in (findings.volume, *volumes))
        self.header = read_source_header(findings.volume.sources[0].path)
        self.folder = Path(job.output)
        self.results: list[ResultFile] = []

    def uids(self, output: str) -> ResultUIDs:
        """Identity of an output: follows from the inputs, the models and its name, a retry makes no second one."""
        parts = (self.job.inputs_digest, self.job.model_digest, output)
        return ResultUIDs(derived_uid(*parts, "series"), derived_uid(*parts, "instance"))

    def write(self, dataset: Dataset, kind: Literal["segmentation", "report", "key-image"], name: str,
              encoding: Encoding | None = None) -> Path:  # fmt: skip
        """Writes one object and notes it down."""
        path = self.folder / name
        write_result(dataset, path)
        self.results.append(
            ResultFile(
                kind=kind,
                path=str(path),
                sop_class_uid=str(dataset.SOPClassUID),
                sop_instance_uid=str(dataset.SOPInstanceUID),
                series_instance_uid=str(dataset.SeriesInstanceUID),
                encoding=encoding,
            )
        )
        return path


def encode_results(
    findings: Findings, pipeline: Pipeline, job: JobDescription, report: Progress, *, others: tuple[Volume, ...] = ()
) -> tuple[tuple[ResultFile, ...], tuple[Path, ...]]:
    """Writes every object and picture of a job into its output folder; those of an earlier try go, other files stay.

    `others` are further series that went in, beside the one that the masks lie on.

    Returns:
        The DICOM objects, and the PNG files.

    Raises:
        ReadBackMismatch: A SEG does not read back to the same masks; nothing of this job may be delivered then.
    """
    folder = Path(job.output)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for pattern in OWN_FILES:
        for old in folder.glob(pattern):
            old.unlink()
    writer = _Writer(findings, pipeline, job, others)
    for number, encoding in enumerate(job.segmentations):
        report("encode", number / (len(job.segmentations) + 1))
        _encode_pair(writer, encoding)
    keys = key_slices(findings)
    if job.key_images:
        _encode_key_images(writer, keys)
    pictures = save_pictures(findings, keys, folder / "pictures")
    sync_folder(folder)  # the rows that name these files are durable; so must their entries be
    return tuple(writer.results), pictures


def _encode_pair(writer: _Writer, encoding: Encoding) -> None:
    """One SEG (if there is anything to outline) and the report that refers to it."""
    findings, pipeline = writer.findings, writer.pipeline
    suffix = "" if encoding == "BINARY" else f"-{encoding.lower()}"
    number = pipeline.series_number + (0 if encoding == "BINARY" else 10)
    segmentation = None
    if findings.regions:
        masks = region_masks(findings, encoding)
        segmentation = encode_segmentation(
            masks,
            [_segment(writer, k, encoding) for k in masks],
            findings.volume,
            algorithm_of(findings, writer),
            uids=writer.uids(f"SEG {encoding}"),
            series_number=number,
            series_description=f"Scanward {pipeline.title} SEG",
            created=writer.job.created,
            header=writer.header,
            encoding=encoding,
        )
        path = writer.write(segmentation, "segmentation", f"seg{suffix}.dcm", encoding)
        verify_segmentation(path, masks, findings.volume)
    content = report_content(writer, segmentation)
    report = encode_report(
        content,
        writer.sources,
        segmentation,
        header=writer.header,
        uids=writer.uids(f"SR {encoding}"),
        series_number=number + 1,
        series_description=f"Scanward {pipeline.title} report",
        created=writer.job.created,
        device_uid=DEVICE_UID,
    )
    writer.write(report, "report", f"sr{suffix}.dcm", encoding)


def region_masks(findings: Findings, encoding: Encoding) -> dict[int, MaskBox]:
    """Segment number (place among the outlined regions, from 1) -> its voxels; a region without any is left out.

    An organ includes its lesions unless the encoding allows one number per voxel only.
    """
    lesions = dict(mask_boxes(findings.components))
    masks = {}
    for number, region in enumerate(findings.outlined, start=1):
        if region.component is not None:
            masks[number] = lesions[region.component]
            continue
        mask = findings.segmentation == region.label.number
        for held in region.holds if encoding == "BINARY" else ():
            mask |= findings.segmentation == held
        masks[number] = MaskBox.of(mask)
    return {number: box for number, box in masks.items() if not box.empty}


def tracking_uid(inputs_digest: str, model_digest: str, tracking_id: str) -> str:
    """Tracking UID of a region, the same in SEG, report and database."""
    return derived_uid(inputs_digest, model_digest, "tracking", tracking_id)


def _tracking_uid(writer: _Writer, tracking_id: str) -> str:
    return tracking_uid(writer.job.inputs_digest, writer.job.model_digest, tracking_id)


def _segment(writer: _Writer, number: int, encoding: Encoding) -> SegmentSpec:
    region = writer.findings.outlined[number - 1]
    organ_without_lesions = bool(region.holds) and encoding == "LABELMAP" and writer.findings.lesions
    return SegmentSpec(
        number=number,
        label=f"{region.tracking_id} without lesions" if organ_without_lesions else region.tracking_id,
        category=region.label.category,
        type=region.label.type,
        colour=region.label.colour,
        tracking_id=region.tracking_id,
        tracking_uid=_tracking_uid(writer, region.tracking_id),
        anatomic_region=region.label.anatomic_region,
    )


def algorithm_of(findings: Findings, writer: _Writer, *, slot: str = "segmenter") -> Algorithm:
    """The network that did this part of the work, as SEG and report name it."""
    name = findings.used.get(slot) or next(iter(findings.models))
    digest = findings.models[name]
    return Algorithm(name=name, version=digest[:12], parameters=(findings.engines[name],))


def report_content(writer: _Writer, segmentation: Dataset | None) -> ReportContent:
    """Everything that the report says."""
    findings, pipeline = writer.findings, writer.pipeline
    segmenter = algorithm_of(findings, writer)
    classifier = algorithm_of(findings, writer, slot="classifier") if findings.classifications else segmenter
    absent: tuple[AbsentFinding, ...] = ()
    if not findings.lesions:
        absent = (
            AbsentFinding(
                "Lesions", _tracking_uid(writer, "Lesions"), segmenter, finding=pipeline.finding, site=pipeline.site
            ),
        )
    return ReportContent(
        summary=summary_line(findings),
        groups=tuple(_group(writer, number, segmenter) for number in _encoded_numbers(segmentation)),
        classifications=tuple(
            ClassificationFinding(
                tracking_id=answer.question,
                tracking_uid=_tracking_uid(writer, answer.question),
                finding=pipeline.finding,
                present=answer.positive,
                probability=answer.probability,
                algorithm=classifier,
                site=pipeline.site,
            )
            for answer in findings.classifications
        ),
        absent=absent,
        totals=tuple(_totals(writer, segmenter)),
        notes=findings.notes,
    )


def _totals(writer: _Writer, algorithm: Algorithm) -> Iterator[StudyTotals]:
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
            tracking_uid=_tracking_uid(writer, tracking_id),
            measurements=figures,
            algorithm=algorithm,
            finding=pipeline.finding,
            site=pipeline.site,
        )


def _encoded_numbers(segmentation: Dataset | None) -> list[int]:
    """Numbers of the segments that stand for a region; a label map describes its background as segment 0."""
    segments = segmentation.SegmentSequence if segmentation is not None else []
    return [int(segment.SegmentNumber) for segment in segments if int(segment.SegmentNumber) > 0]


def _group(writer: _Writer, number: int, algorithm: Algorithm) -> MeasurementGroup:
    region = writer.findings.outlined[number - 1]
    return MeasurementGroup(
        segment_number=number,
        tracking_id=region.tracking_id,
        tracking_uid=_tracking_uid(writer, region.tracking_id),
        finding=region.label.type,
        category=region.label.category,
        site=region.label.anatomic_region or writer.pipeline.site,
        algorithm=algorithm,
        measurements=_figures(region),
    )


def _figures(region: Region) -> tuple[Measured, ...]:
    volume = Measured(concepts.VOLUME, region.volume_ml, concepts.MILLILITRE)
    if region.diameters is None:
        return (volume,)
    return (
        volume,
        Measured(concepts.LONG_AXIS, region.diameters.axial_mm, concepts.MILLIMETRE),
        Measured(concepts.CORONAL_DIAMETER, region.diameters.coronal_mm, concepts.MILLIMETRE),
        Measured(concepts.SAGITTAL_DIAMETER, region.diameters.sagittal_mm, concepts.MILLIMETRE),
    )


def summary_line(findings: Findings) -> str:
    """The findings in one line, for the report and for lists."""
    parts = [
        f"{answer.question}: {answer.answer} (probability {answer.probability:.2f})"
        for answer in findings.classifications
    ]
    lesions = findings.lesions
    if lesions:
        volume = sum(lesion.volume_ml for lesion in lesions)
        largest = max((lesion.diameters.axial_mm for lesion in lesions if lesion.diameters), default=0.0)
        parts.append(
            f"{len(lesions)} lesion{'s' * (len(lesions) > 1)}, {volume:.1f} mL, largest axial {largest:.0f} mm"
        )
    else:
        parts.append("no lesion found")
    if "Liver volume" in findings.totals:
        parts.append(f"liver {findings.totals['Liver volume'][0]:.0f} mL")
    if lesions and "Tumour core volume" in findings.totals:
        core, enhancing = (findings.totals[f"{name} volume"][0] for name in ("Tumour core", "Enhancing"))
        parts.append(f"core {core:.1f} mL, enhancing {enhancing:.1f} mL")
    if "Tumour burden" in findings.totals:
        parts.append(f"tumour burden {findings.totals['Tumour burden'][0]:.1f} %")
    return "; ".join(parts)


def _encode_key_images(writer: _Writer, keys: tuple[KeySlice, ...]) -> None:
    volume = writer.findings.volume
    uids = writer.uids("key images")
    images = [
        KeyImage(
            pixels=np.asarray(key.rgb),
            sop_instance_uid=derived_uid(uids.sop_instance_uid, str(number)),
            sources=(volume.sources[key.index],),
            patient_orientation=patient_orientation(volume),
            comment=key.caption,
        )
        for number, key in enumerate(keys, start=1)
    ]
    encoded = encode_key_images(
        images,
        header=writer.header,
        series_instance_uid=uids.series_instance_uid,
        series_number=writer.pipeline.series_number + 2,
        series_description=f"Scanward {writer.pipeline.title} key images",
        created=writer.job.created,
        body_part=writer.pipeline.body_part,
    )
    for number, dataset in enumerate(encoded, start=1):
        writer.write(dataset, "key-image", f"key-{number:02d}.dcm")
