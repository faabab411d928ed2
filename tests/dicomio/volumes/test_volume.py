"""Classic series: order, values, memory, and every reason to refuse that has to do with files."""

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

from dicomio.volumes.content_refusals import SharedInstanceUIDs, UnreadableNumbers
from dicomio.volumes.refusals import (
    MissingTags,
    MixedSeries,
    NoImages,
    NoPixelData,
    TooFewSlices,
    UndecodablePixels,
    UnsupportedMultiframe,
    UnsupportedPixels,
)
from dicomio.volumes.volume import SourceImage, Volume, load_volume
from tests.dicomio.support.images import COLUMNS, ROWS, SERIES, SPACING, classic, compressed, image, item, stack, write


def put(**values: object) -> Callable[[int, Dataset], None]:
    """Give every image these values; None removes one."""

    def change(number: int, ds: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return change


def put_pixels(ds: Dataset, pixels: np.ndarray, **form: int) -> None:
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW" if pixels.dtype.itemsize > 1 else "OB"
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = form.get("BitsStored", ds.BitsAllocated)
    ds.HighBit = form.get("HighBit", ds.BitsStored - 1)
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")


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


def test_each_slice_has_its_own_slope_and_intercept(tmp_path: Path) -> None:
    def change(number: int, ds: Dataset) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = f"{0.5 + number / 4}", number

    volume = load_volume(stack(tmp_path, change=change))
    slopes, intercepts = 0.5 + np.arange(5) / 4, np.arange(5)
    np.testing.assert_allclose(volume.array, STORED * slopes[:, None, None] + intercepts[:, None, None], rtol=1e-6)
    assert volume.array.dtype == np.float32


def test_whole_slopes_stay_whole_numbers(tmp_path: Path) -> None:
    volume = load_volume(stack(tmp_path, change=put(RescaleSlope=-3, RescaleIntercept=40)))
    np.testing.assert_array_equal(volume.array, 40 - 3 * STORED)
    assert volume.array.dtype == np.int16


@pytest.mark.parametrize("late", [0, 2, 4])
def test_values_beyond_16_bits_make_the_whole_volume_float(tmp_path: Path, late: int) -> None:
    def change(number: int, ds: Dataset) -> None:
        if number == late:
            put_pixels(ds, np.full((ROWS, COLUMNS), 60000, dtype=np.uint16))

    volume = load_volume(stack(tmp_path, change=change))
    expected = STORED - 1024.0
    expected[late] = 60000 - 1024
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.array.dtype == np.float32


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_signed_and_unsigned_of_every_size(tmp_path: Path, dtype: str) -> None:
    limits = np.iinfo(dtype)
    pixels = np.linspace(max(limits.min, -9000), min(limits.max, 9000), ROWS * COLUMNS).astype(dtype)
    volume = load_volume(
        stack(tmp_path, modality="MR", change=lambda _, ds: put_pixels(ds, pixels.reshape(ROWS, COLUMNS)))
    )
    np.testing.assert_array_equal(volume.array[3].ravel(), pixels)
    assert volume.array.dtype == np.int16


@pytest.mark.parametrize("signed", [False, True])
def test_what_unused_bits_hold_is_thrown_away(tmp_path: Path, signed: bool) -> None:
    values = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 40 - (900 if signed else 0)

    def change(number: int, ds: Dataset) -> None:
        overlay = (np.arange(ROWS * COLUMNS) % 2 << 14).reshape(ROWS, COLUMNS)  # as before overlays had their own group
        put_pixels(ds, ((values & 0xFFF) | overlay).astype("i2" if signed else "u2"), BitsStored=12)

    volume = load_volume(stack(tmp_path, modality="MR", change=change))
    np.testing.assert_array_equal(volume.array[0], values)


def test_pixels_in_the_upper_bits_are_shifted_down(tmp_path: Path) -> None:
    pixels = (image(0) << 4).astype(np.uint16)
    paths = stack(tmp_path, modality="MR", change=lambda _, ds: put_pixels(ds, pixels, BitsStored=12, HighBit=15))
    np.testing.assert_array_equal(load_volume(paths).array[0], image(0))


def test_white_is_large_in_mr_whatever_the_photometric_interpretation(tmp_path: Path) -> None:
    inverted = load_volume(stack(tmp_path, modality="MR", change=put(PhotometricInterpretation="MONOCHROME1")))
    np.testing.assert_array_equal(inverted.array, STORED.max() - STORED)


def test_hounsfield_units_are_never_inverted(tmp_path: Path) -> None:
    volume = load_volume(stack(tmp_path, change=put(PhotometricInterpretation="MONOCHROME1")))
    np.testing.assert_array_equal(volume.array, STORED - 1024)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_ct_padding_becomes_air(tmp_path: Path, vr: str) -> None:
    pixels = image(0).astype(np.int16)
    pixels[0] = -2000

    def change(number: int, ds: Dataset) -> None:
        put_pixels(ds, pixels)
        ds.add_new("PixelPaddingValue", vr, 63536 if vr == "US" else -2000)  # the same two bytes

    volume = load_volume(stack(tmp_path, change=change))
    assert (volume.array[:, 0] == -1024).all()
    np.testing.assert_array_equal(volume.array[2, 1:], image(0).astype(int)[1:] - 1024)
    assert volume.array.dtype == np.int16


def test_a_range_of_padding_values_becomes_air(tmp_path: Path) -> None:
    pixels = image(0).astype(np.int16)
    pixels[0], pixels[1] = -2000, -1990

    def change(number: int, ds: Dataset) -> None:
        put_pixels(ds, pixels)
        ds.add_new("PixelPaddingValue", "SS", -2000)
        ds.add_new("PixelPaddingRangeLimit", "SS", -1990)

    assert (load_volume(stack(tmp_path, change=change)).array[:, :2] == -1024).all()


def test_a_padding_value_that_bodies_have_is_a_mistake(tmp_path: Path) -> None:
    volume = load_volume(stack(tmp_path, change=lambda _, ds: ds.add_new("PixelPaddingValue", "US", 1024 + 40)))
    np.testing.assert_array_equal(volume.array, STORED - 1024)


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
