from __future__ import annotations

from io import BytesIO

import numpy as np
import pydicom
import pytest
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import codes

from dicomio.errors import EncodingFault
from dicomio.results.segmentation.encoder import verify_segmentation
from dicomio.volumes.masks import MaskBox

# The last one has a number of pixels that is no multiple of eight: its frames begin in mid-byte.
SHAPES = [(9, 40, 32), (7, 16, 64), (6, 13, 11)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tilted", [False, True], ids=["axial", "oblique"])
def test_binary_reads_back_to_the_masks_that_went_in(shape, tilted, case, oblique, encode_file):
    volume, header, masks = case(shape, **({"affine": oblique} if tilted else {}))
    verify_segmentation(encode_file(masks, volume, header), masks, volume)


@pytest.mark.parametrize("shape", SHAPES)
def test_label_map_reads_back_to_the_masks_that_went_in(shape, case, encode_file):
    volume, header, masks = case(shape)
    masks[1] &= ~masks[2]
    path = encode_file(masks, volume, header, encoding="LABELMAP")
    verify_segmentation(path, masks, volume)
    dataset = pydicom.dcmread(path)
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    assert dataset.SegmentsOverlap == "NO"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_masks_read_back(data, make_series, encode):
    shape = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)))
    volume, header = make_series(shape)
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    masks = {number: rng.random(shape) < rng.random() for number in range(1, data.draw(st.integers(1, 4)) + 1)}
    for mask in masks.values():
        mask.flat[rng.integers(mask.size)] = True
    verify_segmentation(_parsed(encode(masks, volume, header)), masks, volume)


def test_a_box_and_an_array_give_the_same_file(case, encode):
    volume, header, masks = case()
    boxes = {number: MaskBox.of(mask) for number, mask in masks.items()}
    assert _bytes(encode(masks, volume, header)) == _bytes(encode(boxes, volume, header))


def test_the_same_inputs_give_the_same_bytes(case, encode):
    volume, header, masks = case()
    first, second = (encode(masks, volume, header) for _ in range(2))
    assert _bytes(first) == _bytes(second)


def test_frames_are_those_that_highdicom_would_write_from_full_arrays(case, encode):
    volume, header, masks = case((6, 13, 11))
    ours = encode(masks, volume, header)
    theirs = Segmentation(
        source_images=[pydicom.dcmread(source.path) for source in volume.sources],
        pixel_array=np.stack(list(masks.values()), axis=-1).astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[_any_description(number) for number in masks],
        series_instance_uid=ours.SeriesInstanceUID,
        sop_instance_uid=ours.SOPInstanceUID,
        series_number=1,
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="x",
        device_serial_number="x",
    )
    assert ours.PixelData[: len(theirs.PixelData) - 1] == theirs.PixelData[:-1]  # the padding differs
    assert ours.NumberOfFrames == theirs.NumberOfFrames
    assert ours.SegmentsOverlap == theirs.SegmentsOverlap == "YES"
    for our, their in zip(ours.PerFrameFunctionalGroupsSequence, theirs.PerFrameFunctionalGroupsSequence, strict=True):
        assert our.SegmentIdentificationSequence == their.SegmentIdentificationSequence
        assert our.FrameContentSequence == their.FrameContentSequence
        assert our.DerivationImageSequence == their.DerivationImageSequence
        position, wanted = (group.PlanePositionSequence[0].ImagePositionPatient for group in (our, their))
        assert np.allclose(np.array(position, float), np.array(wanted, float), atol=1e-8)


def test_segments_say_what_they_are(case, encode):
    volume, header, masks = case()
    dataset = encode(masks, volume, header)
    liver, lesion, _ = dataset.SegmentSequence
    assert (liver.SegmentLabel, lesion.SegmentLabel) == ("Liver", "Lesion 1")
    assert lesion.SegmentAlgorithmType == "AUTOMATIC"
    assert lesion.SegmentAlgorithmName == "abdomen-net"
    algorithm = lesion.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmVersion, algorithm.AlgorithmParameters) == ("1.2.0", "threshold=0.5")
    assert lesion.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
    assert lesion.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert lesion.AnatomicRegionSequence[0].CodeMeaning == "Liver"
    assert "AnatomicRegionSequence" not in liver
    assert (lesion.TrackingID, lesion.TrackingUID[:5]) == ("Lesion 1", "2.25.")
    assert CIELabColor.from_dicom_value(lesion.RecommendedDisplayCIELabValue).to_rgb() == (255, 60, 0)


def test_it_belongs_to_the_study_and_space_of_its_source(case, encode):
    volume, header, masks = case()
    dataset = encode(masks, volume, header)
    for keyword in ("StudyInstanceUID", "AccessionNumber", "StudyID", "StudyDate", "StudyTime", "StudyDescription",
                    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName",
                    "FrameOfReferenceUID", "SpecificCharacterSet"):  # fmt: skip
        assert dataset[keyword].value == header[keyword].value, keyword
    assert dataset.SeriesInstanceUID != header.SeriesInstanceUID
    assert (dataset.SeriesNumber, dataset.Modality) == (9001, "SEG")
    assert dataset.ContentQualification == "RESEARCH"
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (3.2, 2.5)


def test_every_frame_names_its_image_and_the_object_names_the_series(case, encode):
    volume, header, masks = case()
    dataset = encode(masks, volume, header)
    named = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in dataset.PerFrameFunctionalGroupsSequence
    }
    sources = [source.sop_instance_uid for source in volume.sources]
    assert named == {sources[index] for index in (1, 2, 3, 5, 6, 8)}
    series = dataset.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == volume.series_instance_uid
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence] == sources


def test_dates_are_the_callers(case, encode_file):
    volume, header, masks = case()
    dataset = pydicom.dcmread(encode_file(masks, volume, header))
    for what in ("Content", "Series", "InstanceCreation"):
        assert (dataset[f"{what}Date"].value, dataset[f"{what}Time"].value) == ("20261120", "081530"), what


def test_an_enhanced_source_is_named_by_frame(make_enhanced, blobs, encode_file, conforms):
    volume, header = make_enhanced()
    masks = blobs(volume.array.shape)
    path = encode_file(masks, volume, header)
    verify_segmentation(path, masks, volume)
    conforms(path)
    dataset = pydicom.dcmread(path)
    last = dataset.PerFrameFunctionalGroupsSequence[-1].DerivationImageSequence[0].SourceImageSequence[0]
    assert last.ReferencedFrameNumber == 2  # the one voxel lies on the last slice, whose frames come first
    assert len(dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1
    assert dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 3.2


def test_the_header_is_read_from_the_first_source_when_it_is_not_given(case, encode):
    volume, header, masks = case()
    assert _bytes(encode(masks, volume)) == _bytes(encode(masks, volume, header))


def test_an_empty_mask_is_the_callers_mistake(case, encode):
    volume, header, masks = case()
    masks |= {2: np.zeros(volume.array.shape, bool)}
    with pytest.raises(ValueError, match=r"mask 2 is empty.*no segmentation"):
        encode(masks, volume, header)


def test_a_mask_of_another_shape_is_the_callers_mistake(make_series, encode):
    volume, header = make_series()
    with pytest.raises(ValueError, match=r"mask 1 has the shape \(2, 2, 2\)"):
        encode({1: np.ones((2, 2, 2), bool)}, volume, header)


def test_overlapping_segments_cannot_be_a_label_map(case, encode):
    volume, header, masks = case()
    with pytest.raises(EncodingFault, match="segments 1 and 2 share voxels"):
        encode(masks, volume, header, encoding="LABELMAP")


def test_a_source_that_was_compressed_with_loss_stays_marked(case, encode):
    lossy = "LossyImageCompression"
    volume, header, masks = case(**{lossy: "01", f"{lossy}Ratio": "12", f"{lossy}Method": "ISO_10918_1"})
    assert encode(masks, volume, header).LossyImageCompression == "01"


def _any_description(number: int) -> SegmentDescription:
    return SegmentDescription(number, "x", codes.cid7150.Tissue, codes.cid7166.ConnectiveTissue, "MANUAL")


def _bytes(dataset: pydicom.Dataset) -> bytes:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _parsed(dataset: pydicom.Dataset) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(_bytes(dataset)))
