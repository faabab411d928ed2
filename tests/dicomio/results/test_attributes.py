"""Names and other texts of the source must arrive unharmed, and bad headers must not stop a result."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from structlog.testing import capture_logs

from dicomio.results.attributes import local_time, source_time, write_result

NAMES = [
    (None, "Doe^Jane"),
    ("ISO_IR 100", "Müller^Jörg"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
]


@pytest.mark.parametrize(("charset", "name"), NAMES, ids=[str(charset) for charset, _ in NAMES])
def test_names_arrive_byte_for_byte(charset, name, case, encode_file):
    word = name.split("=")[-1].split("^")[0]
    volume, header, masks = case(SpecificCharacterSet=charset, PatientName=name, StudyDescription=word)
    result, source = pydicom.dcmread(encode_file(masks, volume, header)), pydicom.dcmread(volume.sources[0].path)
    assert result.get_item("PatientName").value.strip() == source.get_item("PatientName").value.strip()
    assert str(result.PatientName) == name
    assert result.get("SpecificCharacterSet") == source.get("SpecificCharacterSet")
    assert result.StudyDescription == source.StudyDescription


def test_our_own_accents_turn_the_object_to_utf8_and_spare_the_names(case, encode_file):
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "1", "99X", "cérébrale"
    volume, _, masks = case(PatientName="Müller^Jörg", ProcedureCodeSequence=[procedure])
    result = pydicom.dcmread(encode_file(masks, volume, series_description="Läsionen, 山"))
    assert result.SpecificCharacterSet == "ISO_IR 192"
    assert str(result.PatientName) == "Müller^Jörg"
    assert result.SeriesDescription == "Läsionen, 山"
    assert result.ProcedureCodeSequence[0].CodeMeaning == "cérébrale"


def test_the_source_is_left_as_it_was(case, encode):
    volume, header, masks = case(PatientSex="F")
    before = header.to_json()
    encode(masks, volume, header)
    assert header.to_json() == before


@pytest.mark.parametrize(
    "keyword",
    ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
     "StudyTime", "ReferringPhysicianName", "StudyDescription", "SliceThickness", "PositionReferenceIndicator"],
)  # fmt: skip
def test_a_source_may_lack_it(keyword, case, encode_file, conforms):
    volume, header, masks = case(**{keyword: None})
    conforms(encode_file(masks, volume, header))


def test_a_blanked_source_is_as_good_as_any(case, encode_file, conforms):
    keywords = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate")
    volume, header, masks = case(**dict.fromkeys(keywords, ""))
    conforms(encode_file(masks, volume, header))


def test_an_illegal_sex_is_left_empty(case, encode):
    volume, header, masks = case(PatientSex="0000")
    assert encode(masks, volume, header).PatientSex == ""


def test_a_malformed_attribute_is_left_out_and_logged_without_its_value(case, encode):
    volume, header, masks = case(PatientAge="041Y")
    header[0x001021C0] = RawDataElement(BaseTag(0x001021C0), "US", 3, b"yes", 0, False, True)
    header[0x00180050] = RawDataElement(BaseTag(0x00180050), "DS", 4, b"thin", 0, False, True)
    with capture_logs() as logs:
        dataset = encode(masks, volume, header)
    assert "PregnancyStatus" not in dataset
    assert dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 2.5
    assert (dataset.PatientAge, dataset.PatientName) == ("041Y", "Doe^Jane")
    (entry,) = logs
    assert (entry["event"], entry["keyword"]) == ("attribute_not_inherited", "PregnancyStatus")
    assert "yes" not in str(entry)


def test_a_private_class_of_image_still_has_a_patient(case, encode):
    volume, header, masks = case(SOPClassUID="1.3.46.670589.11.0.0.12.1")
    dataset = encode(masks, volume, header)
    assert (dataset.PatientName, dataset.AccessionNumber) == ("Doe^Jane", "A-17")


def test_an_aware_time_becomes_local_and_a_naive_one_stays():
    moment = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    assert local_time(moment).astimezone(UTC) == moment
    assert local_time(datetime(2026, 7, 1, 12)) == datetime(2026, 7, 1, 12)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"ContentDate": "20260301", "ContentTime": "102030.5"}, datetime(2026, 3, 1, 10, 20, 30, 500000)),
        ({"ContentDate": "", "AcquisitionDate": "20260302"}, datetime(2026, 3, 2)),
        ({"ContentDate": "nonsense", "StudyDate": "20260303", "StudyTime": "0815"}, datetime(2026, 3, 3, 8, 15)),
        ({"StudyTime": "133000"}, datetime(1900, 1, 1)),
    ],
)
def test_a_source_tells_its_time(tags, expected):
    header = Dataset()
    for keyword, value in tags.items():
        header.add(pydicom.DataElement(keyword, (keyword[-4:] == "Date" and "DA") or "TM", value, validation_mode=0))
    assert source_time(header) == expected


def test_files_are_ours_alone_and_whole(case, encode, tmp_path):
    volume, header, masks = case()
    dataset = encode(masks, volume, header)
    write_result(dataset, tmp_path / "seg.dcm")
    assert (tmp_path / "seg.dcm").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    assert (tmp_path / "seg.dcm").read_bytes() == file.getvalue()
