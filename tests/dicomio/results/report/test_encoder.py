from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from io import BytesIO

import pydicom
import pytest
from highdicom.sr import srread
from pydicom.sr.codedict import codes

from dicomio.errors import EncodingFault
from dicomio.results.attributes import Algorithm, ResultUIDs, write_result
from dicomio.results.codes import (
    CORONAL_DIAMETER,
    COUNT,
    LESION_COUNT,
    LIVER,
    LONG_AXIS,
    MILLILITRE,
    MILLIMETRE,
    NEOPLASM,
    PERCENT,
    TUMOUR_BURDEN,
    VOLUME,
)
from dicomio.results.report.encoder import (
    AbsentFinding,
    ClassificationFinding,
    Measured,
    MeasurementGroup,
    ReportContent,
    SourceSeries,
    StudyTotals,
    encode_report,
)
from dicomio.results.uids import derived_uid

NETWORK = Algorithm("abdomen-net", "1.2.0", parameters=("threshold=0.5",))
NOTHING = ReportContent("No tumour found.", absent=(AbsentFinding("Tumour", derived_uid("t"), NETWORK, site=LIVER),))


def content_for(segmentation: pydicom.Dataset) -> ReportContent:
    """A report that uses everything there is to use."""
    groups = tuple(
        MeasurementGroup(
            segment_number=int(segment.SegmentNumber),
            tracking_id=segment.TrackingID,
            tracking_uid=segment.TrackingUID,
            finding=LIVER if segment.SegmentNumber == 1 else NEOPLASM,
            category=None,
            site=LIVER,
            algorithm=NETWORK,
            measurements=(
                Measured(VOLUME, 12.3456789 * segment.SegmentNumber, MILLILITRE),
                Measured(LONG_AXIS, 21.25, MILLIMETRE),
                Measured(CORONAL_DIAMETER, 17.0, MILLIMETRE),
            ),
        )
        for segment in segmentation.SegmentSequence
    )
    totals = (Measured(LESION_COUNT, 2, COUNT), Measured(TUMOUR_BURDEN, 4.2, PERCENT))
    answer = ClassificationFinding("Tumour?", derived_uid("c"), NEOPLASM, True, 0.9731234, NETWORK, LIVER)
    return ReportContent(
        summary="Two lesions in the liver.",
        groups=groups,
        classifications=(answer,),
        totals=(StudyTotals("Totals", derived_uid("s"), totals, NETWORK, site=LIVER),),
        notes=("Portal phase assumed.",),
    )


@pytest.fixture
def report(case, encode):
    """`report(content or None, ...)`: (report, segmentation, volume); None means all there is to say."""

    def make(content: ReportContent | None = None, sources=None, **tags):
        volume, header, masks = case(**tags)
        segmentation = encode(masks, volume, header) if content is None else None
        document = encode_report(
            content or content_for(segmentation),
            sources or [SourceSeries.of(volume)],
            segmentation,
            header=header,
            uids=ResultUIDs(derived_uid("sr series"), derived_uid("sr")),
            series_number=9002,
            series_description="Scanward report",
            created=datetime(2026, 11, 20, 8, 15, 30),
            device_uid=derived_uid("device"),
        )
        return document, segmentation, volume

    return make


@pytest.fixture
def report_file(report, tmp_path):
    """As `report`, but read back from a file by highdicom."""

    def make(content=None, **options):
        document, segmentation, volume = report(content, **options)
        write_result(document, tmp_path / "sr.dcm")
        return srread(tmp_path / "sr.dcm"), segmentation, volume

    return make


def test_each_segment_has_its_group(report_file):
    document, segmentation, volume = report_file()
    groups = document.content.get_volumetric_roi_measurement_groups()
    for group, segment in zip(groups, segmentation.SegmentSequence, strict=True):
        assert (group.tracking_identifier, group.tracking_uid) == (segment.TrackingID, segment.TrackingUID)
        reference = group.referenced_segment
        assert reference.referenced_sop_instance_uid == segmentation.SOPInstanceUID
        assert reference[0].ReferencedSOPSequence[0].ReferencedSegmentNumber == segment.SegmentNumber
        assert reference.source_series_for_segmentation.value == volume.series_instance_uid
        assert group.finding_sites[0].value.value == "10200004"
    assert groups[1].finding_type == codes.SCT.Neoplasm


def test_figures_keep_their_units_and_six_digits(report_file):
    document, _, _ = report_file()
    lesion = document.content.get_volumetric_roi_measurement_groups()[1]
    figures = [(item.name.meaning, item.value, item.unit.value) for item in lesion.get_measurements()]
    assert figures == [
        ("Volume", 24.6914, "mL"),
        ("Long axis", 21.25, "mm"),
        ("Largest diameter in a coronal plane", 17, "mm"),
    ]


def test_the_study_has_its_answer_and_its_totals(report_file):
    document, _, _ = report_file()
    answer, totals = document.content.get_image_measurement_groups()
    probability = answer.get_measurements()[0]
    assert (probability.name.meaning, probability.value, probability.unit.value) == ("Probability", 97.3123, "%")
    assert _presence(answer) == codes.SCT.Present
    count = totals.get_measurements()[0]
    assert (count.name.value, count.value) == ("246206008", 2)


def test_nothing_found_is_said_and_says_on_which_images(report_file):
    document, _, volume = report_file(NOTHING)
    assert document.content.get_volumetric_roi_measurement_groups() == []
    (group,) = document.content.get_image_measurement_groups()
    assert group.finding_type == codes.SCT.Neoplasm
    assert _presence(group) == codes.SCT.Absent
    evidence = {instance for _, _, instance, _ in document.get_evidence()}
    assert evidence == {source.sop_instance_uid for source in volume.sources}
    assert NOTHING.no_finding


def test_the_evidence_is_the_segmentation_and_every_image_of_every_series(report_file, case):
    volume, header, _ = case()
    first = SourceSeries.of(volume)
    images = tuple(replace(image, sop_instance_uid=f"{image.sop_instance_uid}.2") for image in first.images)
    series = [first, replace(first, series_instance_uid="1.2.3.4", images=images)]
    document, segmentation, _ = report_file(sources=series)
    study = header.StudyInstanceUID
    expected = {
        (study, one.series_instance_uid, image.sop_instance_uid, image.sop_class_uid)
        for one in series
        for image in one.images
    }
    expected.add((study, segmentation.SeriesInstanceUID, segmentation.SOPInstanceUID, segmentation.SOPClassUID))
    evidence = [tuple(map(str, instance)) for instance in document.get_evidence()]
    assert set(evidence) == expected
    assert len(evidence) == len(expected)


def test_a_positive_answer_is_a_finding_even_without_an_outline():
    answer = ClassificationFinding("Tumour?", derived_uid("c"), NEOPLASM, True, 0.9, NETWORK)
    assert not ReportContent("x", classifications=(answer,), absent=NOTHING.absent).no_finding


def test_a_device_and_nobody_else_observed(report_file):
    document, _, _ = report_file()
    (observer,) = document.content.get_observer_contexts()
    assert observer.observer_type == codes.DCM.Device
    assert observer.observer_identifying_attributes.name == "Scanward"
    assert (document.CompletionFlag, document.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert document.PreliminaryFlag == "PRELIMINARY"
    assert "AuthorObserverSequence" not in document


def test_every_group_names_its_algorithm(report_file):
    document, _, _ = report_file()
    measurements = _child(document, "126010")
    for group in measurements.ContentSequence:
        texts = {item.ConceptNameCodeSequence[0].CodeMeaning: item.get("TextValue") for item in group.ContentSequence}
        assert (texts["Algorithm Name"], texts["Algorithm Version"]) == ("abdomen-net", "1.2.0")
        assert texts["Algorithm Parameters"] == "threshold=0.5"


def test_summary_notes_and_research_statement_are_there(report_file):
    document, _, _ = report_file()
    texts = [item.TextValue for item in _child(document, "C0034375").ContentSequence]
    assert texts[:2] == ["Two lesions in the liver.", "Portal phase assumed."]
    assert texts[2].startswith("Research use only")
    assert document.ContentQualification == "RESEARCH"


def test_the_library_stands_before_the_measurements_and_lists_every_image(report_file):
    document, _, volume = report_file()
    names = [item.ConceptNameCodeSequence[0].CodeMeaning for item in document.ContentSequence]
    assert names[-3:] == ["Image Library", "Imaging Measurements", "Qualitative Evaluations"]
    (group,) = _child(document, "111028").ContentSequence
    images = [item.ReferencedSOPSequence[0] for item in group.ContentSequence if item.ValueType == "IMAGE"]
    assert [image.ReferencedSOPInstanceUID for image in images] == [s.sop_instance_uid for s in volume.sources]


def test_an_enhanced_image_is_listed_once_with_its_frames(report, make_enhanced):
    volume, _ = make_enhanced()
    document, _, _ = report(NOTHING, sources=[SourceSeries.of(volume)])
    (group,) = _child(document, "111028").ContentSequence
    (image,) = [item.ReferencedSOPSequence[0] for item in group.ContentSequence if item.ValueType == "IMAGE"]
    assert sorted(image.ReferencedFrameNumber) == [2, 4, 6, 8, 10, 12]


def test_the_same_inputs_give_the_same_bytes(report):
    assert _bytes(report()[0]) == _bytes(report()[0])


def test_it_belongs_to_the_study_of_its_source(report_file):
    document, _, volume = report_file(PatientName="Müller^Jörg")
    source = pydicom.dcmread(volume.sources[0].path)
    for keyword in ("StudyInstanceUID", "AccessionNumber", "PatientName", "PatientID", "SpecificCharacterSet"):
        assert document[keyword].value == source[keyword].value, keyword
    assert (document.SeriesNumber, document.Modality) == (9002, "SR")


def test_notes_in_any_language_survive(report_file):
    notes = ReportContent("Kein Tumor größer als 5 mm – ≥ 1 Schicht fehlt.", absent=NOTHING.absent)
    document, _, _ = report_file(notes, PatientName="Müller^Jörg")
    assert document.PatientName == "Müller^Jörg"
    assert _child(document, "C0034375").ContentSequence[0].TextValue == notes.summary


def test_notes_that_quote_a_scanner_carry_no_control_characters(report_file):
    notes = ReportContent("Series \x1b[31mlate\x07", absent=NOTHING.absent, notes=("a\x00b",))
    document, _, _ = report_file(notes)
    texts = [item.TextValue for item in _child(document, "C0034375").ContentSequence]
    assert texts[:2] == ["Series [31mlate", "ab"]


def test_a_group_must_track_what_its_segment_tracks(report, case, encode):
    volume, header, masks = case()
    segmentation = encode(masks, volume, header)
    content = content_for(segmentation)
    segmentation.SegmentSequence[1].TrackingUID = "1.2.3"
    with pytest.raises(EncodingFault, match="'Lesion 1' is not what segment 2 tracks"):
        encode_report(
            content, [SourceSeries.of(volume)], segmentation, header=header, uids=ResultUIDs("1.2", "1.3"),
            series_number=1, series_description="x", created=datetime(2026, 1, 1), device_uid="1.4",
        )  # fmt: skip


def test_a_report_must_say_something(report):
    with pytest.raises(ValueError, match="at least one group"):
        report(ReportContent("Nothing to say."))


def test_a_blanked_source_is_as_good_as_any(report, conforms, tmp_path):
    keywords = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate")
    write_result(report(NOTHING, **dict.fromkeys(keywords, ""))[0], tmp_path / "sr.dcm")
    conforms(tmp_path / "sr.dcm")


def _presence(group):
    (answer,) = [item.value for item in group.get_qualitative_evaluations() if item.name.value == "121052"]
    return answer


def _child(document: pydicom.Dataset, code: str) -> pydicom.Dataset:
    return next(item for item in document.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == code)


def _bytes(dataset: pydicom.Dataset) -> bytes:
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
