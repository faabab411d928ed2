from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pydicom
import pytest

from dicomio.errors import ReadBackMismatch
from dicomio.results.segmentation.readback import read_masks, verify_segmentation


@pytest.fixture
def written(case, encode):
    """A parsed segmentation, its masks and its volume."""
    volume, header, masks = case()
    file = BytesIO()
    encode(masks, volume, header).save_as(file, enforce_file_format=True)
    return pydicom.dcmread(BytesIO(file.getvalue())), masks, volume


def test_what_was_written_passes(written):
    verify_segmentation(*written)


@pytest.mark.parametrize("bit", [0, 12345, -1])
def test_one_flipped_pixel_is_found(written, bit):
    dataset, masks, volume = written
    frames, pixels = dataset.NumberOfFrames, dataset.Rows * dataset.Columns
    place = bit % (frames * pixels)
    data = bytearray(dataset.PixelData)
    data[place // 8] ^= 1 << place % 8
    dataset.PixelData = bytes(data)
    with pytest.raises(ReadBackMismatch, match=r"another (number of voxels|shape)"):
        verify_segmentation(dataset, masks, volume)


def test_a_frame_at_another_slice_is_found(written):
    dataset, masks, volume = written
    first, second = dataset.PerFrameFunctionalGroupsSequence[:2]
    first.PlanePositionSequence = second.PlanePositionSequence
    with pytest.raises(ReadBackMismatch, match="source image"):
        verify_segmentation(dataset, masks, volume)


def test_a_frame_beside_the_grid_is_found(written):
    dataset, masks, volume = written
    position = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    position.ImagePositionPatient = [*position.ImagePositionPatient[:2], position.ImagePositionPatient[2] + 0.1]
    with pytest.raises(ReadBackMismatch, match="no slice"):
        verify_segmentation(dataset, masks, volume)


def test_swapped_segments_are_found(written):
    dataset, masks, volume = written
    with pytest.raises(ReadBackMismatch):
        verify_segmentation(dataset, {1: masks[2], 2: masks[1], 3: masks[3]}, volume)


def test_a_missing_frame_is_found(written):
    dataset, masks, volume = written
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    with pytest.raises(ReadBackMismatch, match="segment 3 lacks its frame at slice 8"):
        verify_segmentation(dataset, masks, volume)


def test_a_missing_segment_is_found(written):
    dataset, masks, volume = written
    masks[4] = masks[2]
    with pytest.raises(ReadBackMismatch, match="segment 4 lacks its frame"):
        verify_segmentation(dataset, masks, volume)


def test_another_frame_of_reference_is_found(written):
    dataset, masks, volume = written
    with pytest.raises(ReadBackMismatch, match="frame of reference"):
        verify_segmentation(dataset, masks, replace(volume, frame_of_reference_uid="1.2.3"))


def test_swapped_pixel_spacing_is_found(written):
    dataset, masks, volume = written
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = measures.PixelSpacing[::-1]
    with pytest.raises(ReadBackMismatch, match="spacing"):
        verify_segmentation(dataset, masks, volume)


def test_a_mismatch_names_no_patient(written):
    dataset, masks, volume = written
    with pytest.raises(ReadBackMismatch) as caught:
        verify_segmentation(dataset, {1: masks[1]}, volume)
    assert "Doe" not in str(caught.value)
    assert str(caught.value).startswith("the segmentation does not read back")


def test_masks_of_any_segmentation_come_by_label(written):
    dataset, masks, volume = written
    found = read_masks(dataset, volume)
    assert set(found) == {"Liver", "Lesion 1", "Lesion 2"}
    assert np.array_equal(found["Liver"], masks[1])
    assert np.array_equal(found["Lesion 2"], masks[3])
