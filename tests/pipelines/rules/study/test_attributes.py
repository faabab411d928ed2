from __future__ import annotations

import math
from typing import Any

import pytest

from pipelines.rules.derived.contrast import contrast
from pipelines.rules.derived.localizer import localizer
from pipelines.rules.derived.plane import AnatomicalPlane, plane
from pipelines.rules.study.attributes import SeriesAttributes, StudyAttributes
from pipelines.rules.study.keywords import keyword_named
from tests.pipelines.rules.studies import ct, study

AXIAL, CORONAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]


def turned(degrees: float) -> list[float]:
    """An axial slice tilted around the left-right axis, as gantries and planning do."""
    angle = math.radians(degrees)
    return [1, 0, 0, 0, math.cos(angle), math.sin(angle)]


def plane_of(cosines: object, *others: object) -> AnatomicalPlane | None:
    instances = [{"ImageOrientationPatient": other} for other in others]
    return plane({"ImageOrientationPatient": cosines}, instances).value


@pytest.mark.parametrize(("cosines", "expected"), [(AXIAL, "axial"), (CORONAL, "coronal"), (SAGITTAL, "sagittal")])
def test_plane_of_straight_slices(cosines: list[int], expected: str) -> None:
    assert plane_of(cosines) == expected
    assert plane_of([-value for value in cosines]) == expected  # turned upside down it is the same plane
    assert plane_of([str(value) for value in cosines]) == expected
    assert plane_of("\\".join(str(value) for value in cosines)) == expected


@pytest.mark.parametrize("degrees", [0, 10, 30, 44])
def test_tilted_slices_have_the_nearest_plane(degrees: float) -> None:
    assert plane_of(turned(degrees)) == "axial"
    assert plane_of(turned(90 - degrees)) == "coronal"


def test_slices_far_from_every_plane_are_oblique() -> None:
    third = 1 / math.sqrt(3)  # the normal points at a corner of the cube
    row = [1 / math.sqrt(2), -1 / math.sqrt(2), 0]
    column = [third / math.sqrt(2), third / math.sqrt(2), -2 * third / math.sqrt(2)]
    assert plane_of([*row, *column]) == "oblique"


def test_images_in_different_planes_are_mixed() -> None:
    assert plane_of(AXIAL, AXIAL, CORONAL) == "mixed"
    assert plane_of(AXIAL, AXIAL, turned(20)) == "axial"


@pytest.mark.parametrize("junk", [None, "", [0] * 6, [1, 0, 0], ["a"] * 6, [1, 0, 0, 1, 0, 0], [float("nan")] * 6])
def test_unusable_orientation_has_no_plane(junk: object) -> None:
    assert plane_of(junk) is None


def test_letters_tell_the_plane_of_old_images() -> None:
    assert plane({"PatientOrientation": ["L", "P"]}).value == "axial"
    assert plane({"PatientOrientation": ["L", "F"]}).value == "coronal"
    assert plane({"PatientOrientation": "PR\\FP"}).value == "sagittal"
    assert plane({"PatientOrientation": ["L"]}).value is None


def test_description_does_not_decide_the_plane() -> None:
    assert plane({"SeriesDescription": "AX T1"}).value is None
    assert plane({"SeriesDescription": "AX T1", "ImageOrientationPatient": CORONAL}).value == "coronal"


@pytest.mark.parametrize(
    "tags",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"]},
        {"ImageType": ["DERIVED", "SECONDARY", "REF_SURVIEW"], "ScanOptions": "SURVIEW"},
        {"ImageType": "ORIGINAL\\PRIMARY\\LOCALIZER"},
        {"ScanOptions": "SCOUT MODE", "ImageType": ["ORIGINAL", "PRIMARY"]},
        {"SeriesDescription": "localizer_3plane"},
        {"SeriesDescription": "Loc (Right)"},
        {"SeriesDescription": "3-pl T2* FGRE"},
        {"SeriesDescription": "Survey_32ch"},
        {"SeriesDescription": "Topogram 0.6 T80s"},
        {"SeriesDescription": "AAHead_Scout_MPR_cor"},
        {"SeriesDescription": "Übersicht"},
        {"SeriesDescription": "Repérage"},
        {"SeriesDescription": "LOCALIZADOR"},
        {"ProtocolName": "Localisateur"},
    ],
    ids=str,
)
def test_localizers(tags: dict[str, Any]) -> None:
    assert localizer(tags).value is True


@pytest.mark.parametrize(
    "tags",
    [
        {"SeriesDescription": "T1 SE", "ProtocolName": "localizer"},
        {"SeriesDescription": "AX FLAIR"},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]},
        {"SeriesDescription": "block design"},
        {"Manufacturer": "GE MEDICAL SYSTEMS", "ProtocolName": "SCOUT+BRAIN", "ImageType": ["ORIGINAL"]},
    ],
    ids=str,
)
def test_no_localizers(tags: dict[str, Any]) -> None:
    assert localizer(tags).value is False


def test_a_few_images_in_three_planes_are_a_localizer() -> None:
    planes = [{"ImageOrientationPatient": cosines} for cosines in (AXIAL, CORONAL, SAGITTAL)]
    assert localizer({"ImageType": ["ORIGINAL", "PRIMARY"]}, planes, 3).value is True
    assert localizer({"ImageType": ["ORIGINAL", "PRIMARY"]}, planes * 50, 150).value is False


def test_localizer_is_unknown_when_nothing_is_said() -> None:
    assert localizer({}).value is None


WITH = [
    "AX T1 +C", "AX T1 + C", "T1 AX C+", "T1 SE POST", "T1_post", "t1_mprage_post_gd", "T1 GD", "T1 Gad",
    "T1 gadolinium", "T1W post-contrast", "T1 with contrast", "T1 w/ contrast", "T1 CE", "t1ce", "T1c", "T1 W/C",
    "Ax 3D T1 FSPGR+C", "T1 FS Dotarem", "T1 Gadovist 7.5 ml",
    "t1_tse_tra_KM", "T1 mit KM", "T1 nach KM", "t1 nach i.v. KM", "T1 Kontrastmittel",
    "T1 gado", "T1 avec injection", "T1 après injection", "T1 INJ", "T1 avec gado",
    "T1 con contraste", "T1 con gadolinio", "T1 C/C", "T1 CIV",
    "T1 con mdc", "T1 dopo mdc", "T1 mdc",
    "T1 met contrast", "T1 na gd", "T1 na contrast",
    "ep2d_perf_p2", "DSC",
    "T1 com contraste", "T1 med kontrast", "T1 m/k", "e-THRIVE art phase", "LAVA portal venous", "T1/3D/FFE/C",
]  # fmt: skip
WITHOUT = [
    "T1 PRE", "T1 pre contrast", "t1_pre_gd", "T1 w/o contrast", "T1 without contrast", "T1 wo", "T1 NON CONTRAST",
    "T1 noncon", "T1 unenhanced", "T1 -C", "T1 C-", "T1 non-enhanced",
    "T1 nativ", "T1 native", "T1 ohne KM", "T1 vor KM", "T1 ohne Kontrastmittel", "t1_se_tra_nativ",
    "T1 sans injection", "T1 avant injection", "T1 sans gado",
    "T1 sin contraste", "T1 S/C", "T1 simple",
    "T1 senza mdc", "T1 basale", "T1 prima mdc",
    "T1 zonder contrast", "T1 blanco", "T1 voor contrast",
    "T1 sem contraste", "T1 uten kontrast", "T1 u/k",
]  # fmt: skip


@pytest.mark.parametrize("words", WITH)
def test_words_for_contrast(words: str) -> None:
    assert contrast({"Modality": "MR", "SeriesDescription": words}).value is True


@pytest.mark.parametrize("words", WITHOUT)
def test_words_for_no_contrast(words: str) -> None:
    found = contrast({"Modality": "MR", "SeriesDescription": words, "ContrastBolusAgent": "Gadovist"})
    assert found.value is False, found.because


@pytest.mark.parametrize(
    "words",
    ["AX T1", "T2 TSE posterior fossa", "T1 post op", "T1 presat", "epiRT GD33", "C-SPINE T1", "T1 pre-op", "T2 W/O FS",
     "FLAIR", "T1 precession", "3D ASL perfusion", "arterial spin labeling"],
)  # fmt: skip
def test_words_that_say_nothing_of_contrast(words: str) -> None:
    assert contrast({"Modality": "MR", "SeriesDescription": words, "ContrastBolusAgent": "Gadovist"}).value is True
    assert contrast({"Modality": "MR", "SeriesDescription": words}).value is False  # MR that says nothing had none
    assert contrast({"Modality": "CT", "SeriesDescription": words}).value is None  # CT that says nothing: who knows


@pytest.mark.parametrize("agent", ["NONE", "No", "ohne", "n/a", "", "  "])
def test_an_agent_that_is_none(agent: str) -> None:
    assert contrast({"Modality": "CT", "ContrastBolusAgent": agent}).value is None


def test_agent_without_words() -> None:
    assert contrast({"Modality": "CT", "ContrastBolusAgent": "ISOVUE300/100"}).value is True
    assert contrast({"Modality": "CT", "ContrastBolusVolume": "100"}).value is True
    assert contrast({"Modality": "CT", "ContrastBolusVolume": "0"}).value is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [("Abd portal venous 3.0", True), ("Abdomen venös 5.0 B30f", True), ("CTA Abdomen", True), ("ABD ART", True),
     ("arteriell", True), ("Abdomen nativ 5.0", False), ("THORAX I.V. 1.5", True), ("5/5mm Plain", False),
     ("Abdomen 5.0 B30f", None), ("W/WO contrast", None), ("spätarteriell", True)],
)  # fmt: skip
def test_phases_of_ct(words: str, expected: bool | None) -> None:
    assert contrast({"Modality": "CT", "SeriesDescription": words}).value is expected


def test_study_description_can_rule_contrast_out_but_not_in() -> None:
    def of(study: str) -> bool | None:
        return contrast({"Modality": "CT", "SeriesDescription": "5.0 B30f", "StudyDescription": study}).value

    assert of("CT HEAD W/O CONTRAST") is False
    assert of("CT ABDOMEN W CONTRAST") is None
    assert of("CT ABDOMEN W/WO CONTRAST") is None


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
