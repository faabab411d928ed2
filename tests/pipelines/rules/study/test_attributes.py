from __future__ import annotations

from pipelines.rules.study.attributes import SeriesAttributes, StudyAttributes
from pipelines.rules.study.keywords import keyword_named
from tests.pipelines.rules.studies import ct, study


def mr(number: int, description: str, time: str = "") -> SeriesAttributes:
    tags = {"Modality": "MR", "SeriesNumber": number, "SeriesDescription": description, "AcquisitionTime": time}
    return SeriesAttributes(f"1.{number}", tags, images=20)


def test_a_series_that_says_nothing_after_contrast_is_unknown() -> None:
    before, given, after = mr(3, "T1", "101500"), mr(5, "T1 +C", "103000"), mr(4, "T1 MPRAGE", "103500.25")
    study = StudyAttributes("1", {}, (after, given, before))

    values = [study.derived(series, "contrast").value for series in (before, given, after)]

    assert values == [False, True, None]
    assert after.contrast is False  # by itself it says nothing


def test_series_numbers_stand_in_for_missing_times() -> None:
    study = StudyAttributes("1", {}, (mr(3, "T1", "101500"), mr(5, "T1 +C"), mr(6, "MPRAGE")))

    assert [study.derived(series, "contrast").value for series in study.series] == [False, True, None]


def test_values_of_a_tag_over_all_images() -> None:
    images = ({"SliceThickness": 4}, {"SliceThickness": 7}, {"SliceThickness": 4})
    series = SeriesAttributes("1", {"SliceThickness": 4, "ImageType": ["ORIGINAL ", "PRIMARY", ""]}, images, images=3)
    study = StudyAttributes("1", {"PatientAge": "045Y"}, (series,))

    assert study.values(series, "SliceThickness") == (4, 7)
    assert study.values(series, "ImageType") == ("ORIGINAL", "PRIMARY")
    assert study.values(series, "PatientAge") == ("045Y",)
    assert study.values(series, "StationName") == ()
    assert study.values(series, "images") == (3,)
    assert study.values(series, "source_ae") == ()


def test_what_a_study_has() -> None:
    study = StudyAttributes("1", {"StudyDescription": "Brain"}, (mr(1, "a"), mr(2, "b")))

    assert study.study_values("StudyDescription") == ("Brain",)
    assert study.study_values("SeriesDescription") == ("a", "b")
    assert study.study_values("images") == (40,)


def test_units_say_what_the_values_of_a_ct_are() -> None:
    iodine = ct(2, ImageType=["DERIVED", "PRIMARY", "AXIAL", "IODINE"])
    one = study(ct(1), iodine, ct(3, RescaleType="Z_EFF"), mr(4, "T1"))
    assert [one.values(series, "units") for series in one.series] == [("HU",), ("MGML",), ("Z_EFF",), ()]
    assert one.derived(iodine, "units").because == "ImageType says IODINE"
    assert keyword_named("units").kind == "text"
