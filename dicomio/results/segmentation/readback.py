"""Reads segmentations as a receiver would, and compares ours with the masks that were encoded.

Nothing here is shared with the encoder: frames are placed by their position in the patient, not by their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicomio.errors import ReadBackMismatch
from dicomio.results.valid_values import valid_uid
from dicomio.volumes.masks import MaskBox

if TYPE_CHECKING:
    from dicomio.volumes.volume import Volume

# Distances in voxels and differences of direction cosines: decimal strings keep far more than this.
_TOLERANCE = 1e-3


def verify_segmentation(
    segmentation: Path | Dataset, masks: Mapping[int, MaskBox | NDArray[np.generic]], volume: Volume
) -> None:
    """Rebuilds the mask of every segment on the grid of the source volume and compares it, voxel by voxel.

    Args:
        segmentation: The written file (parsed again), or a data set.
        masks: Segment number -> mask, as they were given to the encoder.
        volume: The volume that the masks lie on.

    Raises:
        ReadBackMismatch: Anything differs: geometry, frame of reference, source image of a frame, a voxel.
    """
    dataset = pydicom.dcmread(segmentation) if isinstance(segmentation, Path) else segmentation
    boxes = {number: mask if isinstance(mask, MaskBox) else MaskBox.of(mask) for number, mask in masks.items()}
    _check_grid(dataset, volume)
    missing = {(number, index) for number, box in boxes.items() for index in box.slices()}
    for number, index, plane in _planes(dataset, volume):
        if (number, index) not in missing:
            _differs(f"segment {number} has a frame at slice {index} that it should not have, or has it twice")
        missing.remove((number, index))
        box = boxes[number]
        if np.count_nonzero(plane) != np.count_nonzero(box.plane(index)):
            _differs(f"segment {number} has another number of voxels on slice {index}")
        if not np.array_equal(plane[box.window()], box.plane(index)):
            _differs(f"segment {number} has another shape on slice {index}")
    if missing:
        number, index = min(missing)
        _differs(f"segment {number} lacks its frame at slice {index} ({len(missing)} frames are missing)")


def read_masks(segmentation: Path | Dataset, volume: Volume) -> dict[str, NDArray[np.bool_]]:
    """Rebuilds the masks of any segmentation on the grid of the volume that it was drawn on.

    Returns:
        Segment label -> mask (slices, rows, columns); segments of the same label are put together.

    Raises:
        ReadBackMismatch: It does not lie on the grid of this volume.
    """
    dataset = pydicom.dcmread(segmentation) if isinstance(segmentation, Path) else segmentation
    _check_grid(dataset, volume)
    labels = {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in dataset.SegmentSequence}
    masks: dict[str, NDArray[np.bool_]] = {}
    for number, index, plane in _planes(dataset, volume):
        masks.setdefault(labels[number], np.zeros(volume.array.shape, dtype=bool))[index] |= plane
    return masks


def _differs(reason: str) -> NoReturn:
    raise ReadBackMismatch(what="the segmentation", reason=reason)


def _check_grid(dataset: Dataset, volume: Volume) -> None:
    """Rows, columns, spacing, orientation and frame of reference must be those of the source."""
    if (dataset.Rows, dataset.Columns) != volume.array.shape[1:]:
        _differs(f"its frames are {dataset.Rows} × {dataset.Columns}, the source images {volume.array.shape[1:]}")
    if dataset.FrameOfReferenceUID != valid_uid(volume.frame_of_reference_uid):
        _differs("it lies in another frame of reference than its source")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    row_spacing, column_spacing = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    in_plane = np.column_stack([orientation[3:] * row_spacing, orientation[:3] * column_spacing])
    if not np.allclose(in_plane, volume.affine[:3, 1:3], atol=_TOLERANCE / max(volume.array.shape)):
        _differs("its orientation or pixel spacing is not that of the source")


def _planes(dataset: Dataset, volume: Volume) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Segment number, slice of the volume and mask (rows, columns) of every frame, by position."""
    to_grid = np.linalg.inv(volume.affine)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for place, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        index = _slice_at(frame, to_grid, volume)
        _check_source(frame, index, volume)
        pixels = _frame(dataset, place)
        if dataset.SegmentationType == "LABELMAP":
            for number in np.unique(pixels[pixels > 0]):
                yield int(number), index, pixels == number
        else:
            group = frame if "SegmentIdentificationSequence" in frame else shared
            yield int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber), index, pixels.astype(bool)


def _slice_at(frame: Dataset, to_grid: NDArray[np.float64], volume: Volume) -> int:
    """Index of the slice on whose first voxel the frame's first voxel lies."""
    position = [float(value) for value in frame.PlanePositionSequence[0].ImagePositionPatient]
    place = (to_grid @ [*position, 1.0])[:3]
    index = round(float(place[0]))
    if np.abs(place - [index, 0, 0]).max() > _TOLERANCE or not 0 <= index < len(volume.sources):
        _differs(f"a frame lies at {position}, where the source has no slice")
    return index


def _check_source(frame: Dataset, index: int, volume: Volume) -> None:
    """The frame must name the image that it was drawn on."""
    reference, source = frame.DerivationImageSequence[0].SourceImageSequence[0], volume.sources[index]
    found = (reference.ReferencedSOPInstanceUID, reference.get("ReferencedFrameNumber"))
    if found != (valid_uid(source.sop_instance_uid), source.frame):
        _differs(f"the frame at slice {index} names another source image")


def _frame(dataset: Dataset, place: int) -> NDArray[np.uint8 | np.uint16]:
    """Stored values of one frame (rows, columns), straight from the bytes."""
    shape = (int(dataset.Rows), int(dataset.Columns))
    pixels = shape[0] * shape[1]
    if dataset.BitsAllocated > 1:
        dtype = np.dtype(f"<u{dataset.BitsAllocated // 8}")
        start = place * pixels * dtype.itemsize
        return np.frombuffer(dataset.PixelData, dtype, pixels, start).reshape(shape)
    first, shift = divmod(place * pixels, 8)  # frames follow each other without a gap, in mid-byte where need be
    packed = np.frombuffer(dataset.PixelData, np.uint8, -(-(shift + pixels) // 8), first)
    return np.unpackbits(packed, bitorder="little", count=shift + pixels)[shift:].reshape(shape)
