from __future__ import annotations

from datetime import datetime
from io import BytesIO

import numpy as np
import pydicom
import pytest

from dicomio.results.attributes import write_result
from dicomio.results.key_images import KeyImage, encode_key_images, patient_orientation
from dicomio.results.uids import derived_uid

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 255, (33, 21, 3), dtype=np.uint8)  # odd number of bytes: the value must be padded


@pytest.fixture
def pictures(make_series):
    """`pictures(...)`: two key images, and their volume; the second is no slice."""

    def make(**tags):
        volume, header = make_series(**tags)
        images = [
            KeyImage(
                PIXELS, derived_uid("key", "1"), volume.sources[2:3], patient_orientation(volume), "Largest slice"
            ),
            KeyImage(PIXELS[::-1], derived_uid("key", "2"), volume.sources),
        ]
        captures = encode_key_images(
            images,
            header=header,
            series_instance_uid=derived_uid("key series"),
            series_number=9003,
            series_description="Scanward key images",
            created=datetime(2026, 11, 20, 8, 15, 30),
            body_part="LIVER",
        )
        return captures, volume

    return make


def test_pixels_arrive_unchanged(pictures, tmp_path):
    captures, _ = pictures()
    for number, expected in enumerate([PIXELS, PIXELS[::-1]]):
        write_result(captures[number], tmp_path / "sc.dcm")
        assert np.array_equal(pydicom.dcmread(tmp_path / "sc.dcm").pixel_array, expected)


def test_they_are_derived_secondary_and_name_their_source(pictures):
    (first, second), volume = pictures()
    assert first.SOPClassUID.name == "Secondary Capture Image Storage"
    assert list(first.ImageType) == ["DERIVED", "SECONDARY"]
    assert (first.ConversionType, first.BurnedInAnnotation) == ("WSD", "NO")
    assert [item.ReferencedSOPInstanceUID for item in first.SourceImageSequence] == [volume.sources[2].sop_instance_uid]
    assert len(second.SourceImageSequence) == len(volume.sources)
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.ImageComments == "Largest slice"


def test_orientation_is_that_of_the_slice_or_unknown(pictures):
    (first, second), _ = pictures()
    assert list(first.PatientOrientation) == ["L", "P"]
    assert not second.PatientOrientation


def test_coronal_slices_run_left_and_down(make_series):
    affine = np.array([[0, 0, 1, 0], [2, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=float)
    volume, _ = make_series(affine=affine)
    assert patient_orientation(volume) == ("L", "F")


def test_a_source_with_a_name_burned_in_says_so(pictures):
    assert pictures(BurnedInAnnotation="YES")[0][0].BurnedInAnnotation == "YES"


def test_they_belong_to_the_study_of_their_source(pictures):
    (first, _), volume = pictures(PatientName="Müller^Jörg")
    source = pydicom.dcmread(volume.sources[0].path)
    for keyword in ("StudyInstanceUID", "AccessionNumber", "PatientName", "PatientID", "SpecificCharacterSet"):
        assert first[keyword].value == source[keyword].value, keyword


def test_the_same_inputs_give_the_same_bytes(pictures):
    for once, again in zip(pictures()[0], pictures()[0], strict=True):
        assert _bytes(once) == _bytes(again)


def test_they_conform(pictures, conforms, tmp_path):
    for number, capture in enumerate(pictures(PatientSex="", StudyDate="")[0]):
        write_result(capture, tmp_path / f"{number}.dcm")
        conforms(tmp_path / f"{number}.dcm")


def _bytes(dataset: pydicom.Dataset) -> bytes:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
