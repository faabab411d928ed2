"""Whatever a source holds, what we write conforms: judged by dciodvfy over mutated headers."""

from __future__ import annotations

import random

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from structlog.testing import capture_logs

from dicomio.results.attributes import changed_attributes, write_result
from dicomio.results.segmentation.readback import verify_segmentation
from dicomio.results.uids import derived_uid
from dicomio.results.valid_values import make_valid, valid_uid, valid_value
from tests.dicomio.acceptance.test_results_in_other_readers import _capture, _measured, _report
from tests.dicomio.support.images import item

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of what these tests put into headers

PATIENT = [
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "PatientBirthDateInAlternativeCalendar",
    "PatientAlternativeCalendar",
    "QualityControlSubject",
    "StrainDescription",
    "OtherPatientNames",
    "PatientSpeciesDescription",
    "PatientBreedDescription",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
]
TRIAL = [
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialProtocolEthicsCommitteeName",
    "ClinicalTrialProtocolEthicsCommitteeApprovalNumber",
    "ClinicalTrialTimePointID",
    "LongitudinalTemporalOffsetFromEvent",
    "LongitudinalTemporalEventType",
]
STUDY = [
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "ConsultingPhysicianName",
    "StudyDescription",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "StudyInstanceUID",
    "StudyID",
    "RequestingService",
    "AdmittingDiagnosesDescription",
    "PatientAge",
    "PatientSize",
    "PatientBodyMassIndex",
    "PatientWeight",
    "MedicalAlerts",
    "Allergies",
    "Occupation",
    "SmokingStatus",
    "AdditionalPatientHistory",
    "PregnancyStatus",
    "LastMenstrualDate",
    "PatientSexNeutered",
    "ReasonForVisit",
    "AdmissionID",
    "ServiceEpisodeID",
    "PatientState",
]
IMAGE = [
    "SpecificCharacterSet",
    "PositionReferenceIndicator",
    "SliceThickness",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "BurnedInAnnotation",
    "ContentDate",
    "ContentTime",
]
KEYWORDS = (*PATIENT, *TRIAL, *STUDY, *IMAGE)

VALUES = [
    b"x" * 70,
    rb"a\b ",
    b"19991332",
    b"2026-1-1",
    b"\x07\x1b[31m",
    b"12345678901234567890",
    b"\xe4\xf6\xfc ",
    b"YES ",
    b"lower ",
    b"",
    b" ",
    b"1.2.x ",
    b"0.01.2",
    b"nan ",
    b"1e400 ",
    b"\0\0\0\0",
    b"\xff\xff",
    b"A^B^C^D^E^F^G=H=I=J ",
    b"\r\n",
]


def put(header: Dataset, keyword: str, value: bytes, vr: str = "") -> None:
    """As it would stand in a file."""
    tag = Tag(keyword)
    header._dict[tag] = RawDataElement(tag, vr or dictionary_VR(tag), len(value), value, 0, False, True)


@pytest.fixture
def judged(case, encode, conforms, tmp_path):
    """`judged(change)`: SEG, report and key image of a source whose header was changed all conform."""
    volume, header, masks = case((4, 20, 20))
    masks = {1: masks[1]}

    def judge(change):
        changed = Dataset()
        changed.update(header)
        change(changed)
        segmentation = encode(masks, volume, changed)
        report = _report(_measured(segmentation, masks, volume), volume, segmentation, changed)
        for name, dataset in (("seg", segmentation), ("sr", report), ("sc", _capture(volume, changed))):
            write_result(dataset, tmp_path / f"{name}.dcm")
            conforms(tmp_path / f"{name}.dcm")
        return pydicom.dcmread(tmp_path / "sr.dcm")

    return judge


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_one_value_in_every_attribute(value, judged):
    judged(lambda header: [put(header, keyword, value) for keyword in KEYWORDS])


@pytest.mark.parametrize(("vr", "value"), [("US", b"\1\0"), ("FD", b"12345"), ("UN", b"abc "), ("OB", b"\0\1\2\3")])
def test_every_attribute_in_another_vr(vr, value, judged):
    judged(lambda header: [put(header, keyword, value, vr) for keyword in KEYWORDS])


@pytest.mark.parametrize("seed", range(12))
def test_some_values_in_some_attributes(seed, judged):
    chance = random.Random(seed)

    def change(header: Dataset) -> None:
        for keyword in chance.sample(KEYWORDS, 14):
            put(header, keyword, chance.choice(VALUES))

    judged(change)


@pytest.mark.parametrize(
    ("keyword", "items"),
    [
        ("ProcedureCodeSequence", [{"CodeValue": "1", "CodingSchemeDesignator": "99X"}]),
        ("ProcedureCodeSequence", [{"CodeMeaning": "liver"}]),
        ("ProcedureCodeSequence", [{"CodeValue": "x" * 20, "CodingSchemeDesignator": "99X", "CodeMeaning": "y"}]),
        ("ProcedureCodeSequence", [{}]),
        ("ProcedureCodeSequence", []),
        ("ReferencedStudySequence", [{"ReferencedSOPClassUID": "1.2.3"}]),
        ("ReferencedStudySequence", [{"ReferencedSOPClassUID": "1.2.3", "ReferencedSOPInstanceUID": "x.y"}]),
        ("OtherPatientIDsSequence", [{"PatientID": "7"}]),
        ("IssuerOfAccessionNumberSequence", [{"UniversalEntityID": "x"}]),
    ],
)
def test_sequences_with_half_of_what_they_need(keyword, items, judged):
    report = judged(lambda header: setattr(header, keyword, [item(**one) for one in items]))
    assert keyword not in report


def test_what_is_legal_is_inherited_sequences_and_trials_and_animals_too(judged):
    def change(header: Dataset) -> None:
        code = item(CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning="liver")
        header.ProcedureCodeSequence = [code]
        header.ClinicalTrialSponsorName, header.ClinicalTrialProtocolID = "SPONSOR", "P-1"
        header.ClinicalTrialSubjectID, header.PatientWeight, header.PatientAge = "S-9", "70.5", "041Y"
        header.PatientSpeciesDescription = "Canis"

    report = judged(change)
    assert report.ProcedureCodeSequence[0].CodeMeaning == "liver"
    assert (report.ClinicalTrialSponsorName, report.ClinicalTrialSubjectID) == ("SPONSOR", "S-9")
    assert (report.PatientWeight, report.PatientAge, report.PatientSpeciesDescription) == (70.5, "041Y", "Canis")


def test_uids_that_are_none_are_replaced_by_the_same_ones_everywhere(make_series, blobs, encode, conforms, tmp_path):
    volume, header = make_series(
        (4, 20, 20), StudyInstanceUID="1.2.abc", SeriesInstanceUID="series-7", FrameOfReferenceUID="1.02.3"
    )
    masks = {1: blobs((4, 20, 20))[1]}
    segmentation = encode(masks, volume, header)
    report = _report(_measured(segmentation, masks, volume), volume, segmentation, header)
    for name, dataset in (("seg", segmentation), ("sr", report), ("sc", _capture(volume, header))):
        write_result(dataset, tmp_path / f"{name}.dcm")
        conforms(tmp_path / f"{name}.dcm")
        assert dataset.StudyInstanceUID == valid_uid("1.2.abc")
    verify_segmentation(tmp_path / "seg.dcm", masks, volume)
    assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == valid_uid("series-7")
    assert changed_attributes(header, [("SeriesInstanceUID", "series-7"), ("SOPInstanceUID", "1.2.3")]) == (
        "StudyInstanceUID",
        "SeriesInstanceUID",
    )


@given(st.text(max_size=80))
def test_a_uid_becomes_legal_once_and_for_all(text):
    uid = valid_uid(text)
    assert len(uid) <= 64
    assert pydicom.uid.UID(uid).is_valid
    assert valid_uid(uid) == uid == valid_uid(text)


def test_a_legal_uid_stays_as_it_is():
    for uid in ("1.2.840.10008.1.2", derived_uid("x"), "2.25.0", "1.2." + "3" * 60):
        assert valid_uid(uid) == uid


def test_values_are_mended_where_they_say_something_and_named_without_what_they_held(case, encode):
    volume, header, masks = case()
    put(header, "PatientID", b"ID\x07" + b"9" * 80)
    put(header, "StudyDescription", rb"Head\Neck ")
    put(header, "StudyDate", b"2026.03.01")
    put(header, "StudyTime", b"25:99 ")
    put(header, "PatientSex", b"f ")
    with capture_logs() as logs:
        dataset = encode(masks, volume, header)
    assert dataset.PatientID == "ID" + "9" * 62
    assert (dataset.StudyDescription, dataset.StudyDate, dataset.StudyTime) == ("Head/Neck", "20260301", "")
    assert dataset.PatientSex == "F"
    named = {"PatientID", "StudyDescription", "StudyDate", "StudyTime", "PatientSex"}
    assert {entry["keyword"] for entry in logs} == named == set(changed_attributes(header, []))
    assert "999" not in str(logs)


def test_private_attributes_are_left_out_without_a_word():
    source = Dataset()
    source.PatientID = "1"
    source.private_block(0x0011, "ACME", create=True).add_new(1, "LO", "x")
    clean, changed = make_valid(source)
    assert (clean.PatientID, len(clean), changed) == ("1", 1, ())
    assert valid_value(source, "PatientName") is None


def test_latin_letters_without_a_character_set_become_utf8(judged):
    report = judged(
        lambda header: (put(header, "PatientName", b"M\xfcller^J\xf6rg "), header.pop("SpecificCharacterSet"))
    )
    assert (str(report.PatientName), report.SpecificCharacterSet) == ("Müller^Jörg", "ISO_IR 192")
