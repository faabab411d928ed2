"""The regions of findings as segments of a DICOM SEG; written, and read back before anybody gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicomio.results.segmentation.encoder import SegmentSpec, encode_segmentation, verify_segmentation
from dicomio.volumes.masks import MaskBox, grid_of, mask_boxes

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dicomio.results.segmentation.encoder import Encoding
    from pipelines.findings import Findings
    from pipelines.results.writer import ResultWriter


def encode_segments(writer: ResultWriter, encoding: Encoding, series_number: int, name: str) -> Dataset | None:
    """Writes the SEG; None where there is nothing to outline.

    Raises:
        ReadBackMismatch: It does not read back to the same masks.
    """
    findings = writer.findings
    if not findings.regions:
        return None
    masks = region_masks(findings, encoding)
    segmentation = encode_segmentation(
        masks,
        [_segment(writer, k, encoding) for k in masks],
        findings.volume,
        writer.algorithm(),
        uids=writer.uids(f"SEG {encoding}"),
        series_number=series_number,
        series_description=f"Scanward {writer.pipeline.title} SEG",
        created=writer.job.created,
        header=writer.header,
        encoding=encoding,
    )
    path = writer.write(segmentation, "segmentation", name, encoding)
    verify_segmentation(path, masks, findings.volume)
    return segmentation


def region_masks(findings: Findings, encoding: Encoding) -> dict[int, MaskBox]:
    """Segment number (place among the outlined regions, from 1) -> its voxels; a region without any is left out.

    An organ includes its lesions unless the encoding allows one number per voxel only.
    """
    box = findings.occupied
    lesions = dict(mask_boxes(findings.components, box))
    labels = findings.segmentation[box]
    grid = grid_of(findings.segmentation)
    masks = {}
    for number, region in enumerate(findings.outlined, start=1):
        if region.component is not None:
            masks[number] = lesions[region.component]
            continue
        mask = labels == region.label.number
        for held in region.holds if encoding == "BINARY" else ():
            mask |= labels == held
        masks[number] = MaskBox.placed(mask, box, grid)
    return {number: box for number, box in masks.items() if not box.empty}


def _segment(writer: ResultWriter, number: int, encoding: Encoding) -> SegmentSpec:
    region = writer.findings.outlined[number - 1]
    organ_without_lesions = bool(region.holds) and encoding == "LABELMAP" and writer.findings.lesions
    return SegmentSpec(
        number=number,
        label=f"{region.tracking_id} without lesions" if organ_without_lesions else region.tracking_id,
        category=region.label.category,
        type=region.label.type,
        colour=region.label.colour,
        tracking_id=region.tracking_id,
        tracking_uid=writer.tracking_uid(region.tracking_id),
        anatomic_region=region.label.anatomic_region,
    )
