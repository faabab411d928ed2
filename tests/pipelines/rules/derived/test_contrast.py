from __future__ import annotations

import pytest

from pipelines.rules.derived.contrast import contrast

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
