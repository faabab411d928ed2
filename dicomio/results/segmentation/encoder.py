"""Encodes masks as DICOM Segmentation (PS3.3 A.51; label maps as of Supplement 243).

highdicom decides which frames there are and describes them. It is shown one pixel per slice and segment for that; the
pixels themselves are packed here, frame by frame. The stacked array that it would rather have (slices × rows ×
columns × segments) takes gigabytes for a thin-slice CT with a dozen lesions inside the liver, and most of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from dicomio.errors import EncodingFault
from dicomio.results.attributes import (
    MANUFACTURER,
    Algorithm,
    ResultUIDs,
    base_attributes,
    concept,
    inherit_from_source,
    lossy_compression,
    placeholder_source,
    read_source_header,
)
from dicomio.results.codes import Code
from dicomio.results.segmentation.pixels import labels, overlap, pack_bits, pad_even, plane
from dicomio.results.segmentation.readback import verify_segmentation
from dicomio.results.uids import derived_uid
from dicomio.results.valid_values import study_uid_of, valid_uid, valid_value
from dicomio.volumes.masks import MaskBox

if TYPE_CHECKING:
    from dicomio.volumes.volume import SourceImage, Volume

__all__ = ["Encoding", "Mask", "SegmentSpec", "encode_segmentation", "verify_segmentation"]

Encoding = Literal["BINARY", "LABELMAP"]
Mask = MaskBox | NDArray[np.generic]

# Stands for the slice's real image while highdicom lays out the frames; it never reaches the file.
_PLACEHOLDER = "2.25.{}"


@dataclass(frozen=True)
class SegmentSpec:
    """What a segment is and how to show it.

    Attributes:
        number: Segment Number; 1, 2, 3, ... without a gap in BINARY.
        label: Name that viewers show, at most 64 characters.
        category: Code from CID 7150 (anatomical structure, morphologically abnormal structure, ...).
        type: Code from CID 7151 (liver, neoplasm, ...).
        colour: Red, green, blue, 0 to 255.
        tracking_id: Name of the thing across results ("Lesion 1"); the report repeats it.
        tracking_uid: The same for machines.
        anatomic_region: Where it lies, if the type does not say so already.
    """

    number: int
    label: str
    category: Code
    type: Code
    colour: tuple[int, int, int]
    tracking_id: str
    tracking_uid: str
    anatomic_region: Code | None = None


def encode_segmentation(
    masks: Mapping[int, Mask],
    specs: Sequence[SegmentSpec],
    volume: Volume,
    algorithm: Algorithm,
    *,
    uids: ResultUIDs,
    series_number: int,
    series_description: str,
    created: datetime,
    header: Dataset | None = None,
    encoding: Encoding = "BINARY",
    content_label: str = "SEGMENTATION",
    content_description: str = "",
) -> Dataset:
    """Encodes masks on the grid of a volume; frames without a voxel are left out. Same inputs, same bytes.

    Args:
        masks: Segment number -> mask, either an array (slices, rows, columns) of the shape of the volume, zero outside,
            or a `MaskBox` (cheaper). Masks may overlap in BINARY, not in LABELMAP. None may be empty: a study without
            findings has no segmentation, only a report (`dicomio.results.report.encoder`).
        specs: One per mask.
        volume: The series that the masks lie on, on its own grid and not a reoriented one.
        algorithm: The network that drew them.
        uids: Of the result.
        series_number: Series Number; fixed, so that a retry gives the same object.
        series_description: At most 64 characters.
        created: Date and time of the content; `source_time` where the bytes may depend on nothing but the inputs.
        header: Any image of the source series, without pixels, if it is read already; else the first one is read.
        encoding: BINARY (one bit per voxel and segment) or LABELMAP (one byte per voxel, fewer readers).
        content_label: Content Label: upper case, digits, space and underscore, at most 16 characters.
        content_description: At most 64 characters.

    Raises:
        EncodingFault: Overlapping masks in a label map.
        ValueError: A mask is empty, is of another shape than the volume, or has no spec (or the other way round).
    """
    boxes = _boxes(masks, specs, volume)
    header = header if header is not None else read_source_header(volume.sources[0].path)
    occupied = sorted({index for box in boxes.values() for index in box.slices()})
    segmentation = Segmentation(
        source_images=list(_placeholders(header, volume, occupied)),
        pixel_array=_presence(boxes, occupied, encoding),
        segmentation_type=encoding,
        segment_descriptions=[_description(spec, algorithm) for spec in specs],
        series_instance_uid=uids.series_instance_uid,
        sop_instance_uid=uids.sop_instance_uid,
        instance_number=1,
        content_label=content_label,
        content_description=content_description or None,
        **base_attributes(series_number, series_description, created),
    )
    frames = list(_frame_places(segmentation))
    _put_pixels(segmentation, boxes, frames, volume)
    _put_sources(segmentation, volume)
    _put_dimensions(segmentation)
    return inherit_from_source(segmentation, header, created)


def _boxes(masks: Mapping[int, Mask], specs: Sequence[SegmentSpec], volume: Volume) -> dict[int, MaskBox]:
    """The masks by ascending segment number, cut down to their voxels and checked."""
    if volume.source_axis != 0:
        raise ValueError("masks are encoded on the grid of the source, this volume is a reoriented one")
    if sorted(masks) != [spec.number for spec in specs]:
        raise ValueError(f"masks are numbered {sorted(masks)}, their descriptions {[spec.number for spec in specs]}")
    boxes = {}
    for number, mask in sorted(masks.items()):
        box = mask if isinstance(mask, MaskBox) else MaskBox.of(mask)
        if box.grid != volume.array.shape:
            raise ValueError(f"mask {number} has the shape {box.grid}, the volume {volume.array.shape}")
        if box.empty:
            raise ValueError(f"mask {number} is empty: leave it out (without any finding there is no segmentation)")
        boxes[number] = box
    return boxes


def _placeholders(header: Dataset, volume: Volume, indices: Iterable[int]) -> Iterator[Dataset]:
    """Slices of the volume as highdicom wants to see them: one pixel of a classic single-frame image each."""
    common = {element.tag: element for element in _common_placeholder(header, volume)}
    for index in indices:
        image = Dataset(dict(common))  # shared elements: creating them for each slice took most of the time
        image.SOPInstanceUID = _PLACEHOLDER.format(index + 1)
        image.ImagePositionPatient = _decimals(volume.affine[:3, 3] + index * volume.affine[:3, 0])
        yield image


def _common_placeholder(header: Dataset, volume: Volume) -> Dataset:
    """What all slices have in common."""
    image = placeholder_source(study_uid_of(header), volume.series_instance_uid)
    image.Modality = volume.modality
    image.Rows = image.Columns = 1
    image.FrameOfReferenceUID = valid_uid(volume.frame_of_reference_uid)
    image.PositionReferenceIndicator = valid_value(header, "PositionReferenceIndicator")
    slice_spacing, row_spacing, column_spacing = volume.spacing
    # The direction along a row is that of increasing columns, and the other way round (PS3.3 C.7.6.2.1.1).
    along_row, along_column = volume.affine[:3, 2] / column_spacing, volume.affine[:3, 1] / row_spacing
    image.ImageOrientationPatient = _decimals([*along_row, *along_column])
    image.PixelSpacing = _decimals([row_spacing, column_spacing])
    image.SpacingBetweenSlices = _decimals([slice_spacing])[0]  # of the volume: highdicom would see only these slices
    image.SliceThickness = _decimals([_thickness(header) or slice_spacing])[0]
    for keyword, value in lossy_compression(header):
        setattr(image, keyword, value)
    return image


def _thickness(header: Dataset) -> float:
    """Slice Thickness of a classic image, or that of an enhanced one; 0 if it has no valid one."""
    places = [header]
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in header.get(groups, [])[:1]:
            places += group.get("PixelMeasuresSequence", [])[:1]
    for place in places:
        with suppress(TypeError, ValueError):
            return float(valid_value(place, "SliceThickness"))
    return 0.0


def _presence(boxes: Mapping[int, MaskBox], occupied: Sequence[int], encoding: Encoding) -> NDArray[np.uint16]:
    """Which slice holds which segment: (slices, 1, 1, segments); for a label map any of them: (slices, 1, 1)."""
    row = {index: place for place, index in enumerate(occupied)}
    present = np.zeros((len(occupied), 1, 1, len(boxes)), dtype=np.uint16)
    for column, box in enumerate(boxes.values()):
        present[[row[index] for index in box.slices()], 0, 0, column] = 1
    if encoding == "BINARY":
        return present
    label: NDArray[np.uint16] = (present * np.array(list(boxes), dtype=np.uint16)).max(axis=-1)
    return label


def _description(spec: SegmentSpec, algorithm: Algorithm) -> SegmentDescription:
    identification = AlgorithmIdentificationSequence(
        name=algorithm.name,
        version=algorithm.version,
        family=concept(algorithm.family),
        source=MANUFACTURER,
        parameters=None,
    )
    if algorithm.parameters:
        identification[0].AlgorithmParameters = "; ".join(algorithm.parameters)
    return SegmentDescription(
        segment_number=spec.number,
        segment_label=spec.label,
        segmented_property_category=concept(spec.category),
        segmented_property_type=concept(spec.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=identification,
        tracking_uid=spec.tracking_uid,
        tracking_id=spec.tracking_id,
        anatomic_regions=None if spec.anatomic_region is None else [concept(spec.anatomic_region)],
        display_color=CIELabColor.from_rgb(*spec.colour),
    )


def _frame_places(segmentation: Dataset) -> Iterator[tuple[int | None, int]]:
    """Segment number (None in a label map) and slice of every frame, while placeholders are in place."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        group = next((part for part in (frame, shared) if "SegmentIdentificationSequence" in part), None)
        number = None if group is None else int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        yield number, _slice_of(source)


def _slice_of(reference: Dataset) -> int:
    return int(str(reference.ReferencedSOPInstanceUID).rpartition(".")[2]) - 1


def _put_pixels(
    segmentation: Dataset, boxes: Mapping[int, MaskBox], frames: Iterable[tuple[int | None, int]], volume: Volume
) -> None:
    """Replaces the one-pixel frames by the real ones, in the order that highdicom gave them."""
    segmentation.Rows, segmentation.Columns = volume.array.shape[1:]
    shared = overlap(boxes)
    segmentation.SegmentsOverlap = "YES" if shared else "NO"
    if segmentation.SegmentationType == "BINARY":
        planes = (plane(boxes[number], index) for number, index in frames if number is not None)
        segmentation.PixelData = pack_bits(planes)
        return
    if shared:
        raise EncodingFault(what="the label map", reason=f"segments {shared[0]} and {shared[1]} share voxels")
    dtype = np.dtype(f"<u{segmentation.BitsAllocated // 8}")
    segmentation.PixelData = pad_even(b"".join(labels(boxes, index, dtype).tobytes() for _, index in frames))


def _put_sources(segmentation: Dataset, volume: Volume) -> None:
    """Names the real image (and frame) behind every placeholder, and the whole series as the source."""
    references = {}  # the frames of different segments share one reference to their slice
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        reference = frame.DerivationImageSequence[0].SourceImageSequence[0]
        references[id(reference)] = reference
    for reference in references.values():
        _refer(reference, volume.sources[_slice_of(reference)])
    instances = list({source.sop_instance_uid: _instance(source) for source in volume.sources}.values())
    series = Dataset()
    series.SeriesInstanceUID = valid_uid(volume.series_instance_uid)
    series.ReferencedInstanceSequence = instances
    segmentation.ReferencedSeriesSequence = [series]
    segmentation.SourceImageSequence = instances


def _refer(reference: Dataset, source: SourceImage) -> None:
    reference.ReferencedSOPClassUID = valid_uid(source.sop_class_uid)
    reference.ReferencedSOPInstanceUID = valid_uid(source.sop_instance_uid)
    if source.frame is not None:
        reference.ReferencedFrameNumber = source.frame


def _instance(source: SourceImage) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = valid_uid(source.sop_class_uid)
    item.ReferencedSOPInstanceUID = valid_uid(source.sop_instance_uid)
    return item


def _put_dimensions(segmentation: Dataset) -> None:
    """Replaces highdicom's random UID by a derived one; drops "3D", because slices without a segment are left out."""
    if "DimensionOrganizationType" in segmentation:
        del segmentation.DimensionOrganizationType  # "3D" would promise that no slice is missing
    uid = derived_uid(segmentation.SOPInstanceUID, "dimension organization")
    segmentation.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for index in segmentation.DimensionIndexSequence:
        index.DimensionOrganizationUID = uid


def _decimals(values: Iterable[float]) -> list[str]:
    """Numbers as decimal strings; rounded to nine decimals, below which there is only rounding error."""
    return [format_number_as_ds(round(float(value), 9) + 0.0) for value in values]
