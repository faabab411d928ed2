from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from dicomio.errors import BadInput, InvalidAttribute, MissingAttribute, NotDicom, TruncatedFile
from dicomio.files.headers import Header, read_header
from tests.dicomio.support.images import SERIES, classic, compressed, enhanced, item, stack, write

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.dcm"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_header_says_what_and_whose_the_image_is(path: Path, syntax: str) -> None:
    header = read_header(write(classic(3, (1, 2, 3)), path, syntax, source_ae="CT1"))
    assert header.series_instance_uid == SERIES
    assert (header.modality, header.patient_id, header.accession_number, header.study_date) == (
        "CT",
        "P1",
        "A1",
        "20261120",
    )
    assert (header.source_ae, header.transfer_syntax_uid) == ("CT1", syntax)
    assert (header.rows, header.columns, header.frames, header.has_pixels) == (6, 8, 1, True)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_tags_are_the_same_plain_data_in_every_transfer_syntax(path: Path, syntax: str) -> None:
    header = read_header(write(classic(3, (1, 2, 3)), path, syntax))
    assert header.tags == read_header(write(classic(3, (1, 2, 3)), path)).tags
    assert json.loads(json.dumps(header.tags)) == header.tags
    assert header.tags["ImageType"] == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert header.tags["PixelSpacing"] == [0.8, 0.7]
    assert header.tags["InstanceNumber"] == 997
    assert isinstance(header.tags["InstanceNumber"], int)
    assert header.tags["BodyPartExamined"] == ""


def test_names_sequences_private_and_bulk_values_are_left_out(path: Path) -> None:
    ds = classic(0, (0, 0, 0))
    ds.ReferencedImageSequence = [item(ReferencedSOPInstanceUID="1.2")]
    ds.PatientComments = "told us her name is Never"
    ds.ReferringPhysicianName = "Never^Shown"
    ds.add_new((0x0029, 0x0010), "LO", "PRIVATE")
    ds.add_new((0x0029, 0x1010), "LO", "secret")
    ds.ImageComments = "x" * 2000
    header = read_header(write(ds, path))
    absent = {"PatientName", "ReferringPhysicianName", "PatientComments", "ReferencedImageSequence", "ImageComments"}
    assert not absent & header.tags.keys()
    assert "PixelData" not in header.tags
    assert not {"Never", "secret"} & set(json.dumps(header.tags).replace("^", '"').split('"'))


def test_what_differs_between_images_is_listed_apart(tmp_path: Path) -> None:
    first, second = (read_header(path) for path in stack(tmp_path, 2))
    assert first.instance_tags.keys() >= {"ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber"}
    assert first.instance_tags["ImagePositionPatient"] != second.instance_tags["ImagePositionPatient"]
    assert "StudyDescription" not in first.instance_tags


def test_text_in_other_character_sets_is_readable(path: Path) -> None:
    ds = classic(0, (0, 0, 0))
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StudyDescription = "Schädel 頭部"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert read_header(write(ds, path)).tags["StudyDescription"] == "Schädel 頭部"


def test_values_that_are_no_numbers_stay_text(path: Path) -> None:
    ds = classic(0, (0, 0, 0))
    ds.SliceThickness = 5
    contents = write(ds, path).read_bytes()
    at = contents.index(b"\x18\x00\x50\x00DS")
    path.write_bytes(contents[: at + 8] + b"5," + contents[at + 10 :])
    assert read_header(path).tags["SliceThickness"] == "5,0"


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_without_its_uids_a_file_is_refused(path: Path, keyword: str) -> None:
    ds = classic(0, (0, 0, 0))
    contents = write(ds, path)
    broken = pydicom.dcmread(contents)
    delattr(broken, keyword)
    broken.save_as(path)
    with pytest.raises(MissingAttribute, match=keyword) as caught:
        read_header(path)
    assert caught.value.keyword == keyword


@pytest.mark.filterwarnings("ignore:.*for VR UI")
@pytest.mark.parametrize("uid", ["../../etc/passwd", "..", ".hidden", "1.2/3", "1.2\\3", "x" * 65])
def test_a_uid_cannot_lead_out_of_the_spool(path: Path, uid: str) -> None:
    ds = classic(0, (0, 0, 0))
    ds.StudyInstanceUID = uid
    with pytest.raises(InvalidAttribute, match="StudyInstanceUID"):
        read_header(write(ds, path))


@pytest.mark.parametrize("contents", [b"", b"short", b"\x89PNG" + bytes(1000), b"%PDF-1.4" * 100])
def test_other_files_are_not_dicom(path: Path, contents: bytes) -> None:
    path.write_bytes(contents)
    with pytest.raises(NotDicom, match=r"image\.dcm is not a DICOM file"):
        read_header(path)


def test_a_table_of_contents_is_not_an_image() -> None:
    with pytest.raises(NotDicom, match="DICOMDIR"):
        read_header(Path(str(get_testdata_file("DICOMDIR"))))


def test_a_missing_file_is_an_error_of_the_disk(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(path)


def test_pixels_that_are_cut_off_are_noticed_without_reading_them() -> None:
    with pytest.raises(TruncatedFile, match="the pixel data should end at byte 9692, the file ends at byte 9630"):
        read_header(Path(str(get_testdata_file("MR_truncated.dcm"))))


def test_a_header_that_is_cut_off_is_noticed() -> None:
    with pytest.raises(TruncatedFile):
        read_header(Path(str(get_testdata_file("rtplan_truncated.dcm"))))


def test_compressed_pixels_that_are_cut_off_are_noticed(path: Path) -> None:
    compressed(classic(0, (0, 0, 0)), [bytes(5000), bytes(3000)], path, JPEG2000Lossless)
    read_header(path)
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(TruncatedFile, match="compressed pixel data"):
        read_header(path)


def test_a_forgotten_end_mark_of_compressed_pixels_is_forgiven(path: Path) -> None:
    compressed(classic(0, (0, 0, 0)), [bytes(5000)], path, JPEG2000Lossless)
    os.truncate(path, path.stat().st_size - 8)
    assert read_header(path).has_pixels


def header_or_refusal(path: Path) -> Header | BadInput:
    try:
        return read_header(path)
    except BadInput as refusal:
        return refusal


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.filterwarnings("ignore:.*End of file|Unexpected end of file|.*unable to read:UserWarning")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_wherever_a_file_is_cut_it_is_bad_input(path: Path, syntax: str, share: float) -> None:
    ds = classic(0, (0, 0, 0))
    purpose = item(PurposeOfReferenceCodeSequence=[item(CodeValue="1")])
    ds.ReferencedImageSequence = [purpose]
    ds["ReferencedImageSequence"].is_undefined_length = True
    contents = write(ds, path, syntax).read_bytes()
    path.write_bytes(contents[: int(share * (len(contents) - 2))])  # the last byte of a deflated file is padding
    match header_or_refusal(path):
        case BadInput() as refusal:
            assert str(path) in str(refusal)
        case header:  # cut between two elements after the UIDs: complete as far as anyone can tell, but no image
            assert not header.has_pixels


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom has much to say about noise
@given(noise=st.lists(st.tuples(st.integers(132, 900), st.integers(0, 255)), min_size=1, max_size=20))
def test_noise_in_a_header_is_at_worst_bad_input(path: Path, noise: list[tuple[int, int]]) -> None:
    contents = bytearray(write(classic(0, (0, 0, 0)), path).read_bytes())
    for at, value in noise:
        contents[at] = value
    path.write_bytes(contents)
    match header_or_refusal(path):
        case BadInput() as refusal:
            assert str(path) in str(refusal)
        case header:
            assert json.dumps(header.tags, allow_nan=False)


def test_a_huge_image_costs_no_more_than_its_header(path: Path) -> None:
    ds = classic(0, (0, 0, 0))
    small = read_header(write(ds, path))
    contents = path.read_bytes()
    at = contents.index(b"\xe0\x7f\x10\x00OW")
    size = 1 << 31
    path.write_bytes(contents[: at + 8] + size.to_bytes(4, "little"))
    os.truncate(
        path, at + 12 + size
    )  # sparse: two gigabytes that nobody wrote, and that reading would take seconds for
    assert read_header(path) == small


def test_an_enhanced_object_shows_its_values_under_classic_names(path: Path) -> None:
    ds = enhanced([(0, 0, 0), (0, 0, 2.5)])
    ds.EchoPulseSequence = "SPIN"
    ds.PulseSequenceName = "TSE"
    ds.ContrastBolusAgentSequence = [item(CodeValue="1", CodingSchemeDesignator="99", CodeMeaning="Gadolinium")]
    shared = ds.SharedFunctionalGroupsSequence[0]
    shared.MRModifierSequence = [item(InversionRecovery="YES", InversionTimes=[2500.0])]
    region = item(CodeValue="12738006", CodingSchemeDesignator="SCT", CodeMeaning="Brain")
    shared.FrameAnatomySequence = [item(FrameLaterality="U", AnatomicRegionSequence=[region])]
    del ds.BodyPartExamined
    header = read_header(write(ds, path))
    assert header.frames == 2
    assert header.tags["ScanningSequence"] == ["SE", "IR"]
    assert header.tags["SequenceName"] == "TSE"
    assert header.tags["ContrastBolusAgent"] == "Gadolinium"
    assert header.tags["BodyPartExamined"] == "BRAIN"
    assert header.tags["InversionTime"] == 2500
    assert (header.tags["RepetitionTime"], header.tags["EchoTime"]) == (9000, 120)
    assert header.tags["SliceThickness"] == 5
    assert header.tags["PixelSpacing"] == [0.8, 0.7]
    assert header.instance_tags["ImageOrientationPatient"] == [1, 0, 0, 0, 1, 0]
    assert header.instance_tags["ImagePositionPatient"] == [0, 0, 0]
    assert header.tags["ImageType"] == ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]


def test_headers_of_the_same_image_are_equal(path: Path) -> None:
    header = read_header(write(classic(0, (0, 0, 0)), path))
    assert header == read_header(path)
    assert header != replace(header, modality="MR")
    assert "Never" not in repr(header)
