"""Classic series: order, memory, and every reason to refuse that has to do with files."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from dicomio.volumes.refusals.content import SharedInstanceUIDs, UnreadableNumbers
from dicomio.volumes.refusals.geometry import TooFewSlices
from dicomio.volumes.refusals.images import (
    MissingTags,
    MixedSeries,
    NoImages,
    NoPixelData,
    UndecodablePixels,
    UnsupportedMultiframe,
    UnsupportedPixels,
)
from dicomio.volumes.volume import SourceImage, Volume, load_volume
from tests.dicomio.support.images import (
    SERIES,
    SPACING,
    classic,
    compressed,
    image,
    item,
    put,
    put_pixels,
    stack,
    write,
)

STORED = np.stack([image(number) for number in range(5)]).astype(int)


def test_slices_are_sorted_by_position_not_by_name_or_number(tmp_path: Path) -> None:
    volume = load_volume(stack(tmp_path))
    np.testing.assert_array_equal(volume.array, STORED - 1024)
    assert volume.array.dtype == np.int16
    assert volume.array.flags.c_contiguous
    assert [source.sop_instance_uid for source in volume.sources] == [
        classic(number, (0, 0, 0)).SOPInstanceUID for number in range(5)
    ]
    assert (volume.modality, volume.series_instance_uid) == ("CT", SERIES)


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_the_files_does_not_matter(tmp_path: Path, order: int) -> None:
    paths = stack(tmp_path)[::order]
    volume = load_volume(paths)
    np.testing.assert_array_equal(volume.array, STORED - 1024)
    assert set(volume.sources) == {
        SourceImage(source.sop_class_uid, source.sop_instance_uid, path, None)
        for path in paths
        for source in volume.sources
        if source.path == path
    }


def test_slices_ascend_along_the_normal_also_when_they_were_made_downwards(tmp_path: Path) -> None:
    volume = load_volume(stack(tmp_path, step=(0, 0, -2.5)))
    np.testing.assert_array_equal(volume.array, STORED[::-1] - 1024)
    np.testing.assert_allclose(volume.affine[:3, 3], (-10, -20, 20))


def test_the_affine_leads_from_array_to_patient(tmp_path: Path) -> None:
    volume = load_volume(stack(tmp_path))
    row_spacing, column_spacing = SPACING
    expected = [[0, 0, column_spacing, -10], [0, row_spacing, 0, -20], [2.5, 0, 0, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected, atol=1e-9)
    assert volume.spacing == pytest.approx((2.5, 0.8, 0.7))
    assert volume.voxel_ml == pytest.approx(2.5 * 0.8 * 0.7 / 1000)
    np.testing.assert_allclose(volume.to_patient(np.array([2, 1, 3])), (-10 + 2.1, -20 + 0.8, 35))


def test_a_single_slice_takes_its_thickness_from_the_header(tmp_path: Path) -> None:
    path = stack(tmp_path, 1)
    with pytest.raises(TooFewSlices):
        load_volume(path)
    assert load_volume(path, allow=[TooFewSlices]).spacing == pytest.approx((5, 0.8, 0.7))


def test_nothing_is_no_volume() -> None:
    with pytest.raises(NoImages):
        load_volume([])


@pytest.mark.parametrize(
    "keyword",
    [
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "Rows",
        "PixelRepresentation",
        "RescaleIntercept",
    ],
)
def test_missing_tags_are_named_and_counted(tmp_path: Path, keyword: str) -> None:
    def change(number: int, ds: Dataset) -> None:
        if number in (1, 4):
            delattr(ds, keyword)

    with pytest.raises(MissingTags, match=f"2 of 5 images lack {keyword}") as caught:
        load_volume(stack(tmp_path, change=change))
    assert caught.value.series_uid == SERIES
    assert caught.value.keywords == (keyword,)


def test_a_position_with_two_numbers_is_none(tmp_path: Path) -> None:
    with pytest.raises(MissingTags, match="ImagePositionPatient"):
        load_volume(stack(tmp_path, change=put(ImagePositionPatient=[1, 2])))


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS:UserWarning")
@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PixelSpacing", rb"0,7\0,7 ", r"hold '0,7.*' in PixelSpacing, which is not a number \(a decimal comma"),
        ("ImagePositionPatient", rb"0,5\1,5\2,5 ", "decimal comma"),
        ("RescaleSlope", b"1,5 ", "hold '1,5' in RescaleSlope, which is not a number .a decimal comma"),
        ("RescaleIntercept", b"none", "hold 'none' in RescaleIntercept, which is not a number. Export"),
        ("PixelSpacing", rb"nan\nan ", "in PixelSpacing, which is not a number"),
    ],
)
def test_what_is_no_number_is_shown(tmp_path: Path, keyword: str, value: bytes, words: str) -> None:
    def change(number: int, ds: Dataset) -> None:
        ds[keyword] = RawDataElement(Tag(keyword), "DS", len(value), value, 0, False, True)

    with pytest.raises(UnreadableNumbers, match=words) as caught:
        load_volume(stack(tmp_path, change=change))
    assert (caught.value.without, caught.value.total) == (5, 5)
    assert "5 of 5 images" in str(caught.value)


def test_one_uid_in_all_images_is_said(tmp_path: Path) -> None:
    with pytest.raises(SharedInstanceUIDs, match="5 different images share 1 SOP Instance UID"):
        load_volume(stack(tmp_path, change=put(SOPInstanceUID="1.2.3")))


def test_pixels_in_elscints_own_compression_are_called_by_name(tmp_path: Path) -> None:
    def change(number: int, ds: Dataset) -> None:
        del ds.PixelData
        block = ds.private_block(0x07A1, "ELSCINT1", create=True)
        block.add_new(0x0A, "OB", bytes(64))
        block.add_new(0x11, "CS", "PMSCT_RLE1")

    with pytest.raises(UndecodablePixels, match="private way of Elscint"):
        load_volume(stack(tmp_path, change=change))


def test_a_missing_frame_of_reference_is_told_last(tmp_path: Path) -> None:
    with pytest.raises(MissingTags, match="5 of 5 images lack FrameOfReferenceUID"):
        load_volume(stack(tmp_path, change=put(FrameOfReferenceUID=None)))


def test_reports_among_the_images_are_counted(tmp_path: Path) -> None:
    def change(number: int, ds: Dataset) -> None:
        if number == 2:
            del ds.PixelData

    with pytest.raises(NoPixelData, match="1 of 5 objects"):
        load_volume(stack(tmp_path, change=change))


def test_files_of_two_series_are_refused(tmp_path: Path) -> None:
    def change(number: int, ds: Dataset) -> None:
        ds.SeriesInstanceUID = "1.2.9" if number == 2 else SERIES

    with pytest.raises(MixedSeries) as caught:
        load_volume(stack(tmp_path, change=change))
    assert caught.value.series_uids == tuple(sorted(["1.2.9", SERIES]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(PhotometricInterpretation="RGB", SamplesPerPixel=3), "colour"),
        (put(PhotometricInterpretation="PALETTE COLOR"), "colour"),
        (put(BitsAllocated=1), "1 bits"),
        (put(ModalityLUTSequence=[item(ModalityLUTType="US")]), "Modality LUT"),
        (put(RescaleSlope=0), "RescaleSlope is 0"),
        (put(RescaleSlope="1e300"), r"RescaleSlope is 1e\+300"),
        (put(RescaleSlope="-1e300"), r"RescaleSlope is -1e\+300"),
        (put(RescaleIntercept="1e200"), r"RescaleIntercept 1e\+200"),
    ],
)
def test_pixels_that_are_no_measurable_grey_are_refused(
    tmp_path: Path, change: Callable[[int, Dataset], None], words: str
) -> None:
    with pytest.raises(UnsupportedPixels, match=words):
        load_volume(stack(tmp_path, change=change))


def test_two_kinds_of_grey_in_one_series_are_refused(tmp_path: Path) -> None:
    def change(number: int, ds: Dataset) -> None:
        ds.PhotometricInterpretation = "MONOCHROME1" if number == 2 else "MONOCHROME2"

    with pytest.raises(UnsupportedPixels, match="MONOCHROME1"):
        load_volume(stack(tmp_path, change=change))


def test_frames_without_a_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedMultiframe, match="4 frames, and no functional groups"):
        load_volume(stack(tmp_path, change=put(NumberOfFrames=4)))


def test_the_image_that_is_cut_off_is_named(tmp_path: Path) -> None:
    paths = stack(tmp_path)
    os.truncate(paths[3], paths[3].stat().st_size - 10)
    with pytest.raises(UndecodablePixels, match=rf"{paths[3].name}.*the pixel data should end at byte") as caught:
        load_volume(paths)
    assert caught.value.path == paths[3]


def test_the_image_with_too_few_pixels_is_named(tmp_path: Path) -> None:
    def change(number: int, ds: Dataset) -> None:
        if number == 2:
            ds.PixelData = ds.PixelData[:-16]

    with pytest.raises(UndecodablePixels, match="need 96 bytes, there are 80") as caught:
        load_volume(stack(tmp_path, change=change))
    assert caught.value.sop_instance_uid == classic(2, (0, 0, 0)).SOPInstanceUID


def test_the_image_that_cannot_be_decompressed_is_named(tmp_path: Path) -> None:
    paths = stack(tmp_path)
    ds = classic(2, (-10, -20, 35))
    compressed(ds, [bytes(500)], paths[(2 * 7 + 3) % 5], JPEG2000Lossless)
    with pytest.raises(UndecodablePixels, match="JPEG 2000") as caught:
        load_volume(paths)
    assert caught.value.sop_instance_uid == ds.SOPInstanceUID


def test_an_unknown_compression_is_named(tmp_path: Path) -> None:
    ds = classic(2, (-10, -20, 35))
    path = compressed(ds, [bytes(500)], tmp_path / "video.dcm", "1.2.840.10008.1.2.4.103")
    with pytest.raises(UndecodablePixels, match=r"MPEG-4 AVC/H\.264 BD-compatible"):
        load_volume([path])


def test_compressed_pixels_that_claim_not_to_be_are_refused(tmp_path: Path) -> None:
    ds = classic(2, (-10, -20, 35))
    path = compressed(ds, [bytes(500)], tmp_path / "wrong.dcm", JPEG2000Lossless)
    contents = path.read_bytes()
    path.write_bytes(contents.replace(JPEG2000Lossless.encode(), b"1.2.840.10008.1.2.1\0\0\0"))
    with pytest.raises(UndecodablePixels, match="Explicit VR Little Endian"):
        load_volume([path])


def test_a_file_that_is_no_dicom_is_named(tmp_path: Path) -> None:
    paths = [*stack(tmp_path), tmp_path / "notes.txt"]
    paths[-1].write_text("not an image")
    with pytest.raises(UndecodablePixels, match=r"notes\.txt"):
        load_volume(paths)


def test_loading_takes_little_more_memory_than_the_array(tmp_path: Path) -> None:
    def change(number: int, ds: Dataset) -> None:
        ds.Rows = ds.Columns = 256
        put_pixels(ds, np.full((256, 256), number, dtype=np.uint16), BitsStored=12)

    paths = stack(tmp_path, 60, change=change, syntax=ExplicitVRLittleEndian)
    tracemalloc.start()
    volume = load_volume(paths)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * volume.array.nbytes


def test_a_volume_checks_its_parts() -> None:
    source = SourceImage("1", "2", Path("x"), None)
    with pytest.raises(ValueError, match="expected 2 sources along axis 0, received 1"):
        Volume(np.zeros((2, 3, 4)), np.eye(4), "1", "MR", "2", (source,))
    with pytest.raises(ValueError, match="3D array"):
        Volume(np.zeros((3, 4)), np.eye(4), "1", "MR", "2", (source,))
    assert Volume(np.zeros((2, 3, 4)), np.eye(4), "1", "MR", "2", (source,), None).voxel_ml == pytest.approx(0.001)


def test_writing_is_undone_by_loading(tmp_path: Path) -> None:
    ds = classic(0, (-10, -20, 30))
    path = write(ds, tmp_path / "one.dcm")
    assert load_volume([path], allow=[TooFewSlices]).sources == (
        SourceImage(ds.SOPClassUID, ds.SOPInstanceUID, path, None),
    )
